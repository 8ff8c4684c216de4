/** Trace contexts on the wire: https://www.w3.org/TR/trace-context, version 00. */

export const TRACEPARENT = "traceparent";

export interface TraceContext {
  /** 32 hex digits. */
  traceId: string;
  /** 16 hex digits. */
  spanId: string;
  isSampled: boolean;
}

/** Null for anything else, and for the ids of zeros, which the standard forbids. */
export function parseTraceparent(text: string | null | undefined): TraceContext | null {
  const [, version, traceId = "", spanId = "", flags = "", more] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text ?? "") ?? [];
  // Later versions may have more fields.
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function formatTraceparent({ traceId, spanId, isSampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}

/**
 * A span below `parent`, or the first of a trace. A trace that somebody else has begun stays sampled or not as it came;
 * of our own the share `ratio` is.
 */
export function childContext(parent: TraceContext | null, ratio: number): TraceContext {
  const traceId = parent?.traceId ?? randomHex(16);
  return { traceId, spanId: randomHex(8), isSampled: parent?.isSampled ?? Math.random() < ratio };
}

/** The same name gives the same trace, in any process. */
export function namedTraceId(name: string): string {
  return [0, 1, 2, 3].map((seed) => hash(name, seed)).join("");
}

/** The same name gives the same span. */
export function namedSpanId(name: string): string {
  return hash(name, 4) + hash(name, 5);
}

/** Whether the trace of this name is among the share `ratio`. */
export function isNameSampled(name: string, ratio: number): boolean {
  return Number.parseInt(hash(name, 6), 16) < ratio * 2 ** 32;
}

function randomHex(bytes: number): string {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  let hex = "";
  for (const value of values) hex += value.toString(16).padStart(2, "0");
  return hex;
}

/** FNV-1a with a seed, and a last mix, since names differ at their ends. Never zero. */
function hash(text: string, seed: number): string {
  let value = 0x811c9dc5 ^ (seed * 0x9e3779b1);
  for (let index = 0; index < text.length; index++)
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  value ^= value >>> 16;
  value = Math.imul(value, 0x85ebca6b);
  value ^= value >>> 13;
  return ((value | 1) >>> 0).toString(16).padStart(8, "0");
}
