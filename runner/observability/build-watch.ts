import { isOver, projectOfBuild, type BuildEvent, type BuildState } from "../../functions/protocol/builds.ts";
import { currencyLabel, grown } from "../../functions/protocol/telemetry/usage.ts";
import type { EventLog } from "../builds/event-log.ts";
import type { Counts } from "./counts.ts";

interface Watched {
  log: EventLog;
  seen: number;
  state: BuildState | null;
}

/** Sees each event of each build once, and counts. What was there when the runner started isn't counted again. */
export class BuildWatch {
  readonly #counts: Counts;
  readonly #told: (buildId: string, event: BuildEvent) => void;
  readonly #builds = new Map<string, Watched>();
  /** The last figures by project. */
  readonly #usage = new Map<string, { tokens: number; cost: number }>();

  constructor(counts: Counts, told: (buildId: string, event: BuildEvent) => void = () => undefined) {
    this.#counts = counts;
    this.#told = told;
  }

  add(buildId: string, log: EventLog): void {
    const watched: Watched = { log, seen: log.seq, state: null };
    for (const event of log.after(0, Infinity)) {
      if (event.type === "state") watched.state = event.state;
      if (event.type === "usage") this.#note(buildId, event);
    }
    this.#builds.set(buildId, watched);
  }

  pump(buildId: string): void {
    const watched = this.#builds.get(buildId);
    if (watched === undefined) return;
    for (const event of watched.log.after(watched.seen, Infinity)) {
      watched.seen = event.seq;
      if (event.type === "state") {
        watched.state = event.state;
        this.#counts.add("signalbox_runner_builds_total", [event.state]);
      } else if (event.type === "usage") this.#count(buildId, event);
      this.#told(buildId, event);
    }
  }

  remove(buildId: string): void {
    this.#builds.delete(buildId);
  }

  /** Builds that aren't over, by state. */
  get states(): Partial<Record<BuildState, number>> {
    const states: Partial<Record<BuildState, number>> = {};
    for (const { state } of this.#builds.values())
      if (state !== null && !isOver(state)) states[state] = (states[state] ?? 0) + 1;
    return states;
  }

  #count(buildId: string, event: BuildEvent & { type: "usage" }): void {
    const before = this.#usage.get(projectOfBuild(buildId) ?? "") ?? { tokens: 0, cost: 0 };
    this.#note(buildId, event);
    this.#counts.add("signalbox_runner_build_tokens_total", [], grown(before.tokens, event.usedTokens));
    if (event.cost === undefined) return;
    const { amount, currency } = event.cost;
    const labels = [currencyLabel(currency)];
    this.#counts.add("signalbox_runner_build_cost_total", labels, grown(before.cost, amount));
  }

  #note(buildId: string, { usedTokens, cost }: BuildEvent & { type: "usage" }): void {
    this.#usage.set(projectOfBuild(buildId) ?? "", { tokens: usedTokens, cost: cost?.amount ?? 0 });
  }
}
