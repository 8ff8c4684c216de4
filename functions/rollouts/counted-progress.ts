import type { AppDocument } from "../apps/app-document.ts";
import { counters } from "../observability/counters.ts";
import { addSpan } from "../observability/tracing.ts";
import type { TracingSettings } from "../protocol/telemetry/spans.ts";
import { isNameSampled, namedSpanId, namedTraceId } from "../protocol/telemetry/traceparent.ts";
import type { BuildLog } from "../providers/provider.ts";
import type { StepName, StepStatus, Progress } from "./progress.ts";
import type { ProgressLog } from "./progress-log.ts";

/** Counts the steps that end, and where there is tracing makes a span of each: one trace for a deployment. */
export class CountedProgress implements Progress {
  readonly #log: ProgressLog;
  readonly #tracing: TracingSettings | null;
  #app: AppDocument | null = null;

  constructor(log: ProgressLog, tracing: TracingSettings | null) {
    this.#log = log;
    this.#tracing = tracing;
  }

  observe(app: AppDocument): void {
    this.#app = app;
    this.#log.observe(app);
  }

  step(deployment: string, step: StepName, status: StepStatus, detail: string): void {
    this.#log.step(deployment, step, status, detail);
    if (status !== "done" && status !== "failed") return;
    counters.add("signalbox_rollout_steps_total", [step, status]);
    if (this.#tracing !== null && this.#app !== null)
      this.#span(this.#app, { deployment, step, isError: status === "failed" }, this.#tracing);
  }

  buildLog(deployment: string): BuildLog {
    return this.#log.buildLog(deployment);
  }

  #span(
    app: AppDocument,
    { deployment, step, isError }: { deployment: string; step: StepName; isError: boolean },
    { ratio }: TracingSettings,
  ): void {
    const name = `${app.name}/${deployment}/${app.deployments[deployment]?.createdAt ?? 0}`;
    if (!isNameSampled(name, ratio)) return;
    const endMs = Date.now();
    const startMs = this.#log.startOf(deployment, step) ?? endMs;
    addSpan({
      traceId: namedTraceId(name),
      spanId: namedSpanId(`${name}/${step}/${startMs}`),
      parentSpanId: null,
      name: `rollout ${step}`,
      kind: "internal",
      startMs,
      endMs,
      attributes: { "signalbox.app": app.name, "signalbox.deployment": deployment },
      isError,
    });
  }
}
