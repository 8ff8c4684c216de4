import { sendSpans, WaitingSpans, type Span, type TracingSettings } from "../protocol/telemetry/spans.ts";
import {
  childContext,
  formatTraceparent,
  parseTraceparent,
  TRACEPARENT,
  type TraceContext,
} from "../protocol/telemetry/traceparent.ts";
import { counters, type Served } from "./counters.ts";

/** From the first span of a batch until it leaves. */
const BATCH_MS = 2_000;
/** A batch that is so late doesn't leave any more: the platform ended the request that it belonged to. */
const LATE_MS = 30_000;
const RESOURCE = { "service.name": "signalbox-edge" };

/** This isolate's. */
const waiting = new WaitingSpans();
let leavesAt = 0;

/** A request's place in its trace. */
export interface RequestTrace {
  context: TraceContext;
  parent: TraceContext | null;
  startMs: number;
  /** What the backend gets. */
  traceparent: string;
}

export function beginTrace(request: Request, { ratio }: TracingSettings): RequestTrace {
  const parent = parseTraceparent(request.headers.get(TRACEPARENT));
  const context = childContext(parent, ratio);
  return { context, parent, startMs: Date.now(), traceparent: formatTraceparent(context) };
}

/** Neither path nor query is in a span: addresses hold what nobody else may read. */
export function endTrace(
  { context, parent, startMs }: RequestTrace,
  { app, deployment }: Served,
  method: string,
  status: number,
): void {
  if (!context.isSampled) return;
  waiting.add({
    traceId: context.traceId,
    spanId: context.spanId,
    parentSpanId: parent?.spanId ?? null,
    name: "edge request",
    kind: "server",
    startMs,
    endMs: Date.now(),
    attributes: {
      "http.request.method": method,
      "http.response.status_code": status,
      "signalbox.app": app,
      "signalbox.deployment": deployment,
    },
    isError: status >= 500,
  });
}

export function addSpan(span: Span): void {
  waiting.add(span);
}

/** Sends what waits, soon and after the answer: no request waits for it. */
export function exportLater(settings: TracingSettings, waitUntil: (work: Promise<unknown>) => void): void {
  const now = Date.now();
  if (waiting.isEmpty || (leavesAt !== 0 && now < leavesAt + LATE_MS)) return;
  leavesAt = now + BATCH_MS;
  waitUntil(
    new Promise((resolve) => setTimeout(resolve, BATCH_MS)).then(() => {
      leavesAt = 0;
      return exportNow(settings);
    }),
  );
}

/** Never rejects. What doesn't arrive is lost, and counted. */
export async function exportNow(settings: TracingSettings): Promise<void> {
  if (waiting.isEmpty) return;
  const { spans, dropped } = waiting.take();
  const isSent = await sendSpans(settings, spans, RESOURCE);
  if (isSent) counters.add("signalbox_spans_total", ["sent"], spans.length);
  const lost = dropped + (isSent ? 0 : spans.length);
  if (lost > 0) counters.add("signalbox_spans_total", ["lost"], lost);
}
