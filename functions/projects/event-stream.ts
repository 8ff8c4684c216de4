import type { BuildEventPage } from "../runners/build-events.ts";

/** The events after a number; it may wait so long for the first one. */
export type ReadEvents = (after: number, waitMs: number) => Promise<BuildEventPage>;

/** One wait. Proxies close what is silent for longer, and a reader that has left is noticed by a write that fails. */
const WAIT_MS = 15_000;
/** After a failed read: the hub may be moving. */
const UNREACHABLE_DELAY_MS = 1_000;
/** A Worker may make 1,000 calls for one request. A stream that ends before goes on in the client's next one. */
const READS_LIMIT = 400;

/**
 * A build's events as server-sent events, each with its number as id. `omitted` says which the hub no longer has. It ends with
 * an `end` event when the build is over.
 */
export async function eventStream(read: ReadEvents, after: number): Promise<Response> {
  // Before the answer's head, so that its failure is an ordinary problem.
  const first = await read(after, 0);
  if (after > 0 && first.isOver && first.events.length === 0) return new Response(null, { status: 204 });
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const left = { isGone: false };
  writer.closed.catch(() => (left.isGone = true));
  pump(read, first, after, writer, left)
    .catch(() => undefined) // the reader has left
    .then(() => writer.close())
    .catch(() => undefined); // its leaving has closed it
  return new Response(readable, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
  });
}

async function pump(
  read: ReadEvents,
  first: BuildEventPage,
  after: number,
  writer: WritableStreamDefaultWriter<Uint8Array>,
  left: { isGone: boolean },
): Promise<void> {
  const encoder = new TextEncoder();
  const write = (text: string): Promise<void> => writer.write(encoder.encode(text));
  await write("retry: 1000\n\n");
  let page: BuildEventPage | null = first;
  let seq = after;
  for (let reads = 0; reads < READS_LIMIT && !left.isGone; reads++) {
    for (const body of page?.events ?? []) {
      const event = JSON.parse(body) as { seq: number };
      // The hub keeps the latest of a long build.
      if (event.seq > seq + 1)
        await write(`event: omitted\ndata: ${JSON.stringify({ from: seq + 1, to: event.seq - 1 })}\n\n`);
      seq = event.seq;
      await write(`id: ${seq}\nevent: build\ndata: ${body}\n\n`);
    }
    if (page?.isOver === true) return await write("event: end\ndata: {}\n\n");
    if (page !== null && page.events.length === 0) await write(": still here\n\n");
    page = await read(seq, WAIT_MS).catch(() => null);
    if (page === null) await new Promise((resolve) => setTimeout(resolve, UNREACHABLE_DELAY_MS));
  }
}
