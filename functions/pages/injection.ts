import { encoded, zstdDecoded, type Coding } from "./coding.ts";
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
  const body = withMarkup(plain, new TextEncoder().encode(markup), missed);
  const { status, statusText } = response;
  if (coding === "identity") return new Response(body, { status, statusText, headers });
  // The runtime's own encoders keep everything until their buffer is full, or until the end.
  return new Response(encoded(body, coding), { status, statusText, headers, encodeBody: "manual" });
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

/** Looks at the first bytes only; the rest is piped natively. */
function withMarkup(
  body: ReadableStream<Uint8Array>,
  markup: Uint8Array,
  missed: () => void,
): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  void copy(body, writable, markup, missed).catch(() => undefined); // both streams carry the error
  return readable;
}

async function copy(
  body: ReadableStream<Uint8Array>,
  writable: WritableStream<Uint8Array>,
  markup: Uint8Array,
  missed: () => void,
): Promise<void> {
  const reader = body.getReader();
  const writer = writable.getWriter();
  let prologue = new Uint8Array(0);
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (value) prologue = joined(prologue, value);
      const point = insertionPoint(prologue.subarray(0, PROLOGUE_LIMIT_BYTES));
      if (point === "more" && !done) continue;
      // A document that ends before its head begins is all prologue.
      const at = point === "more" ? prologue.length : point;
      if (at === null) {
        missed();
        await writer.write(prologue);
      } else {
        const whole = joined(joined(prologue.subarray(0, at), markup), prologue.subarray(at));
        await writer.write(whole);
      }
      if (done) {
        await writer.close();
        return;
      }
      break;
    }
  } catch (error) {
    await Promise.allSettled([reader.cancel(error), writer.abort(error)]);
    throw error;
  }
  reader.releaseLock();
  writer.releaseLock();
  await body.pipeTo(writable);
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(one.length + other.length);
  whole.set(one);
  whole.set(other, one.length);
  return whole;
}
