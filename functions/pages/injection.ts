import { encoded, encodedWhole, zstdDecoded, type Coding } from "./coding.ts";
import { insertionPoint, PROLOGUE_LIMIT_BYTES } from "./insertion-point.ts";

/**
 * Puts `markup` (ASCII) first into the head of a document. Streams: what the backend has flushed goes on at once, as
 * compressed as it came. Returns null where the body can't be read, and then hasn't touched it; where the document turns out
 * to have no place for it, `missed` is called.
 */
export function injected(response: Response, markup: string, missed: () => void): Response | null {
  const coding = codingOf(response.headers);
  const charset = /charset\s*=\s*"?([\w-]+)/i.exec(response.headers.get("content-type") ?? "")?.[1];
  // ASCII is no part of these.
  if (coding === null || response.body === null || /^utf-?(?:16|32)/i.test(charset ?? "")) return null;
  const headers = new Headers(response.headers);
  for (const name of OF_THE_BODY) headers.delete(name);
  // workerd decodes gzip and br as it is read.
  const plain = coding === "zstd" ? zstdDecoded(response.body) : response.body;
  const { readable, writable } = new IdentityTransformStream();
  const of = { markup: new TextEncoder().encode(markup), coding, missed };
  void copy(plain, writable, of).catch(() => undefined); // both streams carry the error
  const { status, statusText } = response;
  if (coding === "identity") return new Response(readable, { status, statusText, headers });
  // The runtime's own encoders keep everything until their buffer is full, or until the end.
  return new Response(readable, { status, statusText, headers, encodeBody: "manual" });
}

/** Headers that say something of the bytes as the backend sent them. */
const OF_THE_BODY = [
  "content-length",
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
  "accept-ranges",
];

function codingOf(headers: Headers): Coding | "identity" | null {
  const given = headers.get("content-encoding")?.trim().toLowerCase() ?? "identity";
  return given === "identity" || given === "gzip" || given === "br" || given === "zstd" ? given : null;
}

/** A document that is there at once is coded in one piece: that costs a fraction of what an encoder's stream does. */
const WHOLE_LIMIT_BYTES = 256 * 1024;
/** How long what has come waits for the rest. */
const WHOLE_WAIT_MS = 2;

interface Insertion {
  markup: Uint8Array;
  coding: Coding | "identity";
  missed: () => void;
}

/** Looks at the beginning only; the rest is piped. */
async function copy(
  body: ReadableStream<Uint8Array>,
  writable: WritableStream<Uint8Array>,
  { markup, coding, missed }: Insertion,
): Promise<void> {
  const reader = body.getReader();
  let sink = writable;
  let writer: WritableStreamDefaultWriter<Uint8Array> | null = null;
  try {
    const { bytes, point, next } = await beginningOf(reader, coding !== "identity");
    if (point === null) missed();
    const first =
      point === null ? bytes : joined(joined(bytes.subarray(0, point), markup), bytes.subarray(point));
    if (next === "done" || coding === "identity") {
      writer = writable.getWriter();
      await writer.write(coding === "identity" ? first : encodedWhole(first, coding));
    } else {
      const plain = new IdentityTransformStream();
      void encoded(plain.readable, coding)
        .pipeTo(writable)
        .catch(() => undefined);
      sink = plain.writable;
      writer = sink.getWriter();
      await writer.write(first);
    }
    const { value, done } = next === "done" ? { done: true } : ((await next) ?? { done: false });
    if (value) await writer.write(value);
    if (done) return await writer.close();
  } catch (error) {
    await Promise.allSettled([reader.cancel(error), writer?.abort(error) ?? writable.abort(error)]);
    throw error;
  }
  reader.releaseLock();
  writer.releaseLock();
  await body.pipeTo(sink);
}

/** A read that is under way, where there is one. */
type Next = "done" | Promise<ReadableStreamReadResult<Uint8Array>> | null;

/** What decides where the markup goes, and where it is asked for what follows at once. */
async function beginningOf(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  whole: boolean,
): Promise<{ bytes: Uint8Array; point: number | null; next: Next }> {
  let bytes = new Uint8Array(0);
  for (;;) {
    const { value, done } = await reader.read();
    if (value) bytes = joined(bytes, value);
    const found = insertionPoint(bytes.subarray(0, PROLOGUE_LIMIT_BYTES));
    if (found === "more" && !done) continue;
    // A document that ends before its head begins is all prologue.
    const point = found === "more" ? bytes.length : found;
    if (done) return { bytes, point, next: "done" };
    if (!whole) return { bytes, point, next: null };
    return { point, ...(await restAtOnce(reader, bytes)) };
  }
}

async function restAtOnce(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  first: Uint8Array<ArrayBuffer>,
): Promise<{ bytes: Uint8Array; next: Next }> {
  let bytes = first;
  let timer: ReturnType<typeof setTimeout> | null = null;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), WHOLE_WAIT_MS);
  });
  try {
    while (bytes.length < WHOLE_LIMIT_BYTES) {
      const next = reader.read();
      const read = await Promise.race([next, late]);
      if (read === null) return { bytes, next };
      if (read.value) bytes = joined(bytes, read.value);
      if (read.done) return { bytes, next: "done" };
    }
    return { bytes, next: null };
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(one.length + other.length);
  whole.set(one);
  whole.set(other, one.length);
  return whole;
}
