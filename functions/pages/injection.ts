import { encodedWhole, encoder, zstdDecoded, type Coding } from "./coding.ts";
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
/** How long what has come waits for more, and how long for the rest. */
const PAUSE_MS = 2;
const WHOLE_LIMIT_MS = 20;

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
  const reader = readerOf(body);
  let writer: WritableStreamDefaultWriter<Uint8Array> | null = null;
  try {
    const { bytes, point, next } = await beginningOf(reader, coding !== "identity");
    if (point === null) missed();
    const first = point === null ? bytes : joined(bytes.subarray(0, point), markup, bytes.subarray(point));
    if (next === "done" || coding === "identity") {
      writer = writable.getWriter();
      await writer.write(coding === "identity" ? first : encodedWhole(first, coding));
    } else {
      const through = encoder(coding);
      void through.readable.pipeTo(writable).catch(() => undefined); // the writer hears of it
      writer = through.writable.getWriter();
      await writer.write(first);
    }
    if (next === "done") return await writer.close();
    if (coding !== "identity") return await copyRest(reader, next, writer);
  } catch (error) {
    await Promise.allSettled([reader.cancel(error), writer?.abort(error) ?? writable.abort(error)]);
    throw error;
  }
  reader.releaseLock();
  writer.releaseLock();
  await body.pipeTo(writable);
}

async function copyRest(
  reader: Reader,
  next: Promise<Read> | null,
  writer: WritableStreamDefaultWriter<Uint8Array>,
): Promise<void> {
  for (let read = next; ; read = null) {
    const { value, done } = await (read ?? reader.read());
    if (value && value.length > 0) await writer.write(value);
    if (done) return writer.close();
  }
}

type Read = ReadableStreamReadResult<Uint8Array> | { done: true; value?: Uint8Array | undefined };

interface Reader {
  read: () => Promise<Read>;
  cancel: (reason: unknown) => Promise<void>;
  releaseLock: () => void;
}

/** The runtime's own streams fill the room that they are given; by themselves they read 4 KiB at a time. */
const FIRST_READ_BYTES = 8 * 1024;
const READ_BYTES = 64 * 1024;

function readerOf(body: ReadableStream<Uint8Array>): Reader {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    // A stream that is made by script has its own chunks.
    return body.getReader();
  }
  let roomBytes = FIRST_READ_BYTES;
  return {
    async read() {
      const read = await reader.read(new Uint8Array(roomBytes));
      if (read.value?.length === roomBytes) roomBytes = READ_BYTES;
      return read;
    },
    cancel: (reason) => reader.cancel(reason),
    releaseLock: () => reader.releaseLock(),
  };
}

/** A read that is under way, where there is one. */
type Next = "done" | Promise<Read> | null;

/** What decides where the markup goes, and where it is asked for what follows at once. */
async function beginningOf(
  reader: Reader,
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

async function restAtOnce(reader: Reader, first: Uint8Array): Promise<{ bytes: Uint8Array; next: Next }> {
  const beganAt = Date.now();
  const chunks = [first];
  let length = first.length;
  while (length < WHOLE_LIMIT_BYTES && Date.now() - beganAt < WHOLE_LIMIT_MS) {
    const next = reader.read();
    const read = await within(PAUSE_MS, next);
    if (read === null) return { bytes: joined(...chunks), next };
    if (read.value) {
      chunks.push(read.value);
      length += read.value.length;
    }
    if (read.done) return { bytes: joined(...chunks), next: "done" };
  }
  return { bytes: joined(...chunks), next: null };
}

/** Null where it takes longer. On a busy machine both are over by the time that anybody looks: then what came counts. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => {
      timer = setTimeout(() => resolve(null), 0);
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
