import { z } from "zod";
import { logBuild, logRunnerConnection } from "../apps/decision-log.ts";
import { counters } from "../observability/counters.ts";
import { flushIfDue, tellRunner, type MetricsBinding } from "../observability/flush.ts";
import type { RunnerFacts } from "../observability/hub.ts";
import { buildStates, isOver, projectOfBuild, type BuildEvent } from "../protocol/builds.ts";
import type { RunnerEvent } from "../protocol/control.ts";
import { currencyLabel, grown } from "../protocol/telemetry/usage.ts";
import type { RunnerRecord } from "./registry.ts";

/** So many of the counters' intervals lie between two words about a runner whose state stays. */
const FACTS_EVERY = 4;

const reported = z.object({
  disk: z
    .object({ state: z.string().catch(""), freeBytes: z.number().min(0) })
    .nullable()
    .catch(null),
  builds: z.partialRecord(z.enum(buildStates), z.number().int().min(0)).catch({}),
});
type Reported = z.infer<typeof reported>;

const usage = z.object({ tokens: z.number(), cost: z.number(), currency: z.string() });

/**
 * What a hub counts and logs of its runner, and what it tells the metrics' hub. It has no timer, which would keep the hub
 * awake: the runner's status, every 15 seconds, brings it forward.
 */
export class HubTelemetry {
  readonly #env: MetricsBinding;
  readonly #kv: SyncKvStorage;
  readonly #waitUntil: (work: Promise<unknown>) => void;
  readonly #intervalMs: number;
  #reported: Reported = { disk: null, builds: {} };
  #told = "";
  #toldState = "";
  #toldAt = 0;

  constructor(ctx: DurableObjectState, env: MetricsBinding, intervalMs: number) {
    this.#env = env;
    this.#kv = ctx.storage.kv;
    this.#waitUntil = (work) => ctx.waitUntil(work);
    this.#intervalMs = intervalMs;
  }

  connected(runner: string, more: { epoch: number; replaces: boolean; enrols: boolean }): void {
    logRunnerConnection(runner, "connected", more);
    counters.add("signalbox_runner_connections_total", ["connected"]);
    if (more.replaces) counters.add("signalbox_runner_connections_total", ["replaced"]);
  }

  ended(runner: string, state: "offline" | "lost"): void {
    logRunnerConnection(runner, state);
    counters.add("signalbox_runner_connections_total", [state]);
  }

  status(event: RunnerEvent): void {
    this.#reported = reported.safeParse(event["payload"]).data ?? this.#reported;
  }

  /** After whatever may have changed. */
  settle(record: RunnerRecord | null, streams: number): void {
    if (this.#intervalMs === 0 || record === null) return;
    flushIfDue(this.#env, this.#intervalMs, this.#waitUntil);
    const now = Date.now();
    if (record.state === this.#toldState && now - this.#toldAt < FACTS_EVERY * this.#intervalMs) return;
    const { disk, builds } = this.#reported;
    const facts: RunnerFacts = {
      state: record.state,
      conflict: record.conflict,
      streams,
      freeBytes: disk?.freeBytes ?? null,
      lowOnDisk: disk !== null && disk.state !== "ok",
      builds: Object.fromEntries(Object.entries(builds).filter(([, count]) => count > 0)),
    };
    const text = JSON.stringify(facts);
    this.#toldAt = now;
    this.#toldState = record.state;
    if (text === this.#told) return;
    this.#told = text;
    this.#waitUntil(tellRunner(this.#env, record.id, facts));
  }

  forgotten(runner: string): void {
    this.#told = "";
    this.#toldState = "";
    this.#waitUntil(tellRunner(this.#env, runner, null));
  }

  /** Each event once. */
  build(runner: string, build: string, event: BuildEvent): void {
    const project = projectOfBuild(build);
    if (event.type === "state") {
      const state = buildStates.find((one) => one === event.state);
      if (state === undefined) return;
      counters.add("signalbox_builds_total", [state]);
      // Once at its start: an answer to a question begins nothing.
      if (isOver(state) || state === "queued") logBuild(runner, build, project, state);
    } else if (event.type === "usage" && project !== null) this.#usage(project, event);
  }

  #usage(project: string, event: BuildEvent & { type: "usage" }): void {
    const { amount = 0, currency = "" } = event.cost ?? {};
    const now = usage.safeParse({
      tokens: event.usedTokens,
      cost: amount,
      currency: currencyLabel(currency),
    }).data;
    if (now === undefined) return;
    const key = `usage/${project}`;
    const before = usage.safeParse(this.#kv.get(key)).data ?? { tokens: 0, cost: 0, currency };
    this.#kv.put(key, now);
    counters.add("signalbox_build_tokens_total", [], grown(before.tokens, now.tokens));
    if (event.cost !== undefined)
      counters.add("signalbox_build_cost_total", [now.currency], grown(before.cost, now.cost));
  }
}
