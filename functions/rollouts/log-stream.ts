import { Problem } from "../errors.ts";
import { LOG_WAIT_LIMIT_SECONDS } from "../protocol/limits.ts";
import type { LogPage } from "../providers/provider.ts";
import { StoreUnavailable } from "../state/store.ts";

/** One page from a cursor on; it may wait so long for its first line, or answer without one at once. */
export type ReadLog = (cursor: number, waitMs: number, signal: AbortSignal) => Promise<LogPage>;

/** Between two reads of a log that keeps growing, or of a provider that can't wait for lines. */
const POLL_INTERVAL_MS = 500;
/** Proxies close what is silent, and a reader that has left is noticed by a write that fails. */
const KEEP_ALIVE_MS = 5_000;
/** After a failed read: the runner may be restarting. */
const UNREACHABLE_DELAY_MS = 2_000;
/** A Worker may make 1,000 calls for one request. A stream that ends before goes on in the client's next one. */
const READS_LIMIT = 400;

/** A page with lines, or with none after so long. */
export async function nextPage(
  read: ReadLog,
  cursor: number,
  waitMs: number,
  signal: AbortSignal,
): Promise<LogPage> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const page = await read(cursor, Math.max(0, deadline - Date.now()), signal);
    const leftMs = deadline - Date.now();
    if (page.lines.length > 0 || page.cursor !== cursor || page.complete || leftMs <= 0) return page;
    await sleep(Math.min(POLL_INTERVAL_MS, leftMs));
  }
}

/**
 * A deployment's log as server-sent events, each of them a page (`log`), its id the cursor to go on from. It ends with
 * an `end` event when nothing will follow, and asks nobody anything once the reader has left.
 */
export async function logStream(read: ReadLog, start: number, client: AbortSignal): Promise<Response> {
  // The first read comes before the answer's head, so that its failure is an ordinary problem.
  const first = await readable(read, start, 0, client);
  if (first instanceof Error) throw first;
  if (start > 0 && first?.complete === true) return new Response(null, { status: 204 });
  const { readable: body, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const left = new AbortController();
  writer.closed.catch(() => left.abort());
  pump(read, start, writer, left.signal)
    .catch(() => undefined) // the reader has left
    .then(() => writer.close())
    .catch(() => undefined); // its leaving has closed it
  return new Response(body, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
  });
}

async function pump(
  read: ReadLog,
  start: number,
  writer: WritableStreamDefaultWriter<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const encoder = new TextEncoder();
  const write = (text: string): Promise<void> => writer.write(encoder.encode(text));
  const end = (detail?: string): Promise<void> =>
    write(`event: end\ndata: ${JSON.stringify({ detail })}\n\n`);
  await write("retry: 1000\n\n");
  const keepAlive = setInterval(() => {
    write(": still here\n\n").catch(() => undefined); // the reader has left, which `signal` says
  }, KEEP_ALIVE_MS);
  try {
    let cursor = start;
    for (let reads = 0; reads < READS_LIMIT && !signal.aborted; reads++) {
      const page = await readable(read, cursor, LOG_WAIT_LIMIT_SECONDS * 1_000, signal);
      // There is no such deployment any more, nor its app.
      if (page instanceof Error) return await end(page.message);
      if (page !== null && (page.lines.length > 0 || page.truncated)) {
        const { lines, truncated } = page;
        cursor = page.cursor;
        await write(`id: ${cursor}\nevent: log\ndata: ${JSON.stringify({ lines, cursor, truncated })}\n\n`);
      }
      if (page?.complete === true) return await end(page.detail);
      await sleep(page === null ? UNREACHABLE_DELAY_MS : POLL_INTERVAL_MS);
    }
  } finally {
    clearInterval(keepAlive);
  }
}

/** Null: not just now. An error: never. */
async function readable(
  read: ReadLog,
  cursor: number,
  waitMs: number,
  signal: AbortSignal,
): Promise<LogPage | Problem | null> {
  try {
    return await read(cursor, waitMs, signal);
  } catch (error) {
    if (error instanceof StoreUnavailable) return null;
    if (!(error instanceof Problem)) throw error;
    return error.status >= 500 ? null : error;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
