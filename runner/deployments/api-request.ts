import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { CONTROL_BODY_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import { RunnerError } from "../runner-error.ts";

/** A body as JSON, of bounded size. */
export async function readJson(
  request: IncomingMessage,
  limitBytes: number = CONTROL_BODY_LIMIT_BYTES,
): Promise<unknown> {
  const tooLarge = (): RunnerError =>
    new RunnerError("too_large", `A body can't be larger than ${limitBytes} bytes.`);
  if (Number(header(request, "content-length") ?? 0) > limitBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const body: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > limitBytes) throw tooLarge();
    chunks.push(chunk);
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    throw new RunnerError("invalid_request", "The body isn't JSON.");
  }
}

/** `waiting` aborts after the time, when the client leaves, and when the runner ends. */
export async function whilePresent<T>(
  request: IncomingMessage,
  waitMs: number,
  ending: AbortSignal,
  work: (waiting: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const abort = (): void => over.abort();
  const timer = setTimeout(abort, waitMs);
  const { socket } = request;
  socket.once("close", abort);
  ending.addEventListener("abort", abort);
  if (ending.aborted) abort();
  try {
    return await work(over.signal);
  } finally {
    clearTimeout(timer);
    socket.off("close", abort);
    ending.removeEventListener("abort", abort);
  }
}

/** What a request says in a header. */
export function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** A whole number of the query. */
export function count(url: URL, name: string, fallback: number, most: number): number {
  const text = url.searchParams.get(name);
  if (text === null) return fallback;
  if (!/^\d{1,16}$/.test(text) || Number(text) > most) {
    throw new RunnerError("invalid_request", `This must be a whole number up to ${most}.`, name);
  }
  return Number(text);
}

/** A body of this shape. Throws {@link RunnerError} `invalid_request` with the field that is wrong. */
export async function parseBody<T>(
  request: IncomingMessage,
  schema: z.ZodType<T>,
  limitBytes?: number,
): Promise<T> {
  const result = schema.safeParse(await readJson(request, limitBytes));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new RunnerError("invalid_request", issue?.message ?? "The body is wrong.", issue?.path.join("."));
}
