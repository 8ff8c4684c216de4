/** Spans as OTLP/HTTP takes them, in JSON: https://opentelemetry.io/docs/specs/otlp */

export interface Span {
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  name: string;
  kind: "internal" | "server" | "client";
  startMs: number;
  endMs: number;
  attributes: Record<string, string | number>;
  isError: boolean;
}

/** Where spans go, and which. */
export interface TracingSettings {
  url: string;
  headers: Record<string, string>;
  /** Of the traces that begin here. */
  ratio: number;
}

const KINDS = { internal: 1, server: 2, client: 3 } as const;
const ERROR_STATUS = 2;
/** What waits to be sent; more is dropped. About 200 KB of JSON. */
const WAITING_LIMIT = 512;
const SEND_TIMEOUT_MS = 5_000;
const TRACES_PATH = "/v1/traces";

/** `ratioText` is from 0 to 1; without one, all. Null for settings that aren't right. */
export function parseTracing(
  endpoint: string,
  headersText: string | null,
  ratioText: string | null,
): TracingSettings | null {
  const url = URL.parse(endpoint);
  const ratio = Number(ratioText ?? "1");
  const headers = parseHeaders(headersText ?? "");
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== "" || headers === null) return null;
  if (!(ratio >= 0 && ratio <= 1) || ratioText === "") return null;
  return { url: endpoint.replace(/\/+$/, "") + TRACES_PATH, headers, ratio };
}

/** `name=value,name=value`, values percent-encoded. */
function parseHeaders(text: string): Record<string, string> | null {
  if (text.trim() === "") return {};
  const pairs = text.split(",").map((part) => /^\s*([\w-]+)=([\u0021-\u007e ]+)$/.exec(part));
  if (!pairs.every((pair) => pair !== null)) return null;
  try {
    return Object.fromEntries(
      pairs.map(([, name = "", value = ""]) => [name, decodeURIComponent(value.trim())]),
    );
  } catch {
    return null;
  }
}

/** Spans that wait for the next batch. */
export class WaitingSpans {
  #spans: Span[] = [];
  #dropped = 0;

  get isEmpty(): boolean {
    return this.#spans.length === 0;
  }

  add(span: Span): void {
    if (this.#spans.length < WAITING_LIMIT) this.#spans.push(span);
    else this.#dropped += 1;
  }

  take(): { spans: Span[]; dropped: number } {
    const taken = { spans: this.#spans, dropped: this.#dropped };
    this.#spans = [];
    this.#dropped = 0;
    return taken;
  }
}

/** False when they didn't arrive. Never rejects: a trace is worth no error. */
export async function sendSpans(
  { url, headers }: TracingSettings,
  spans: readonly Span[],
  resource: Record<string, string>,
): Promise<boolean> {
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: otlpTraces(spans, resource),
      signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
    });
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    return false;
  }
}

export function otlpTraces(spans: readonly Span[], resource: Record<string, string>): string {
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: attributesOf(resource) },
        scopeSpans: [{ scope: { name: "signalbox" }, spans: spans.map(otlpSpan) }],
      },
    ],
  });
}

function otlpSpan(span: Span): object {
  const { traceId, spanId, parentSpanId, name, kind, startMs, endMs, attributes, isError } = span;
  return {
    traceId,
    spanId,
    ...(parentSpanId === null ? {} : { parentSpanId }),
    name,
    kind: KINDS[kind],
    startTimeUnixNano: nanoseconds(startMs),
    endTimeUnixNano: nanoseconds(Math.max(startMs, endMs)),
    attributes: attributesOf(attributes),
    status: isError ? { code: ERROR_STATUS } : {},
  };
}

/** 64-bit numbers are text in this JSON. */
function nanoseconds(ms: number): string {
  return `${Math.round(ms * 1_000)}000`;
}

function attributesOf(attributes: Record<string, string | number>): object[] {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === "string" ? { stringValue: value } : { intValue: String(Math.round(value)) },
  }));
}
