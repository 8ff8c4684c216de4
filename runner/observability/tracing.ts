import { isOver, projectOfBuild, type BuildEvent } from "../../functions/protocol/builds.ts";
import type { OpenHead } from "../../functions/protocol/frames.ts";
import {
  sendSpans,
  WaitingSpans,
  type Span,
  type TracingSettings,
} from "../../functions/protocol/telemetry/spans.ts";
import {
  childContext,
  formatTraceparent,
  isNameSampled,
  namedSpanId,
  namedTraceId,
  parseTraceparent,
  TRACEPARENT,
  type TraceContext,
} from "../../functions/protocol/telemetry/traceparent.ts";
import type { StreamPort } from "../tunnel/stream-port.ts";
import { serviceLabels } from "./counts.ts";

/** From the first span of a batch until it leaves. */
const BATCH_MS = 2_000;

interface Open {
  context: TraceContext;
  parent: TraceContext | null;
  method: string;
  startMs: number;
}

interface OpenBuild {
  startMs: number;
  steps: Map<string, number>;
}

/** Spans of a runner: of each request through the tunnel, and of each build with its steps. */
export class RunnerTracing {
  readonly #settings: TracingSettings;
  readonly #resource: Record<string, string>;
  readonly #waiting = new WaitingSpans();
  readonly #streams = new WeakMap<StreamPort, Open>();
  readonly #builds = new Map<string, OpenBuild>();
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<unknown> = Promise.resolve();

  constructor(settings: TracingSettings, runnerId: string) {
    this.#settings = settings;
    this.#resource = { "service.name": "signalbox-runner", "service.instance.id": runnerId };
  }

  /** A stream begins. Answers the head that its app gets, with this span for its parent. */
  begun(port: StreamPort, head: OpenHead): OpenHead {
    const given = head.headers.find(([name]) => name.toLowerCase() === TRACEPARENT)?.[1];
    const parent = parseTraceparent(given);
    const context = childContext(parent, this.#settings.ratio);
    if (context.isSampled)
      this.#streams.set(port, { context, parent, method: head.method, startMs: Date.now() });
    const others = head.headers.filter(([name]) => name.toLowerCase() !== TRACEPARENT);
    return { ...head, headers: [...others, [TRACEPARENT, formatTraceparent(context)]] };
  }

  /** A stream is over. */
  ended(port: StreamPort): void {
    const open = this.#streams.get(port);
    if (open === undefined) return;
    this.#streams.delete(port);
    const { context, parent, method, startMs } = open;
    const [app, deployment] = serviceLabels(port.service);
    this.#add({
      traceId: context.traceId,
      spanId: context.spanId,
      parentSpanId: parent?.spanId ?? null,
      name: port.webSocket ? "tunnel WebSocket" : "tunnel request",
      kind: "client",
      startMs,
      endMs: Date.now(),
      attributes: {
        "http.request.method": method,
        ...(port.status === null ? {} : { "http.response.status_code": port.status }),
        "signalbox.app": app,
        "signalbox.deployment": deployment,
      },
      isError: port.status === null || port.status >= 500,
    });
  }

  /** Each event of each build once. What was said in a build isn't in a span. */
  build(buildId: string, event: BuildEvent): void {
    if (!isNameSampled(buildId, this.#settings.ratio)) return;
    const at = Date.parse(event.at);
    const open = this.#builds.get(buildId) ?? { startMs: at, steps: new Map<string, number>() };
    this.#builds.set(buildId, open);
    const about = {
      traceId: namedTraceId(buildId),
      kind: "internal" as const,
      endMs: at,
      attributes: { "signalbox.build": buildId, "signalbox.project": projectOfBuild(buildId) ?? "" },
    };
    if (event.type === "step") {
      const { step, status } = event;
      if (status === "begun") open.steps.set(step, at);
      else {
        const startMs = open.steps.get(step) ?? at;
        const name = `build ${step}`;
        const spanId = namedSpanId(`${buildId}/${step}/${startMs}/${event.seq}`);
        const parentSpanId = namedSpanId(buildId);
        this.#add({ ...about, spanId, parentSpanId, name, startMs, isError: status === "failed" });
      }
    }
    if (event.type !== "state" || !isOver(event.state)) return;
    this.#builds.delete(buildId);
    this.#add({
      ...about,
      spanId: namedSpanId(buildId),
      parentSpanId: null,
      name: "build",
      startMs: open.startMs,
      attributes: { ...about.attributes, "signalbox.state": event.state },
      isError: event.state !== "completed",
    });
  }

  /** Sends what waits. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { spans } = this.#waiting.take();
    if (spans.length > 0) this.#sending = sendSpans(this.#settings, spans, this.#resource);
    await this.#sending;
  }

  #add(span: Span): void {
    this.#waiting.add(span);
    this.#timer ??= setTimeout(() => void this.flush(), BATCH_MS).unref();
  }
}
