import type { ProgressLog } from "./progress-log.ts";

/** Proxies close what is silent; a comment every so often keeps the stream open. */
const KEEP_ALIVE_MS = 15_000;

/**
 * A deployment's progress as server-sent events (`step`, `log`, `state`), from after `Last-Event-ID` on. It ends
 * with an `end` event once the rollout is over; a client that reconnects after that is told to stop (204).
 */
export async function progressStream(
  request: Request,
  deployment: string,
  log: ProgressLog,
  isAtRest: () => Promise<boolean>,
): Promise<Response> {
  // While the store is down nobody knows; the stream stays open until somebody does.
  const isOver = (): Promise<boolean> => isAtRest().catch(() => false);
  const lastId = Number(request.headers.get("last-event-id") ?? "0");
  let last = Number.isSafeInteger(lastId) && lastId > 0 ? lastId : 0;
  // Asked before reading, here and below, so that "over" is never true of events not yet sent.
  if (last > 0 && (await isOver()) && log.after(deployment, last).length === 0) {
    return new Response(null, { status: 204 });
  }
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const encoder = new TextEncoder();
  const write = (text: string): Promise<void> => writer.write(encoder.encode(text));

  const pump = async (): Promise<void> => {
    let wake = (): void => {};
    const unlisten = log.listen(() => wake());
    try {
      await write("retry: 1000\n\n");
      for (;;) {
        const news = new Promise<void>((resolve) => {
          wake = resolve;
        });
        const over = await isOver();
        const events = log.after(deployment, last);
        for (const event of events) {
          last = event.sequence;
          const data = JSON.stringify({ deployment, at: new Date(event.at).toISOString(), ...event.data });
          await write(`id: ${event.sequence}\nevent: ${event.type}\ndata: ${data}\n\n`);
        }
        if (over && events.length === 0) {
          await write("event: end\ndata: {}\n\n");
          return;
        }
        if (events.length > 0) continue;
        if (!(await within(news, KEEP_ALIVE_MS))) await write(": still here\n\n");
      }
    } finally {
      unlisten();
      await writer.close().catch(() => undefined); // the reader has left
    }
  };
  pump().catch(() => undefined); // the reader has left
  return new Response(readable, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
  });
}

async function within(news: Promise<void>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const silence = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([news.then(() => true), silence]);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}
