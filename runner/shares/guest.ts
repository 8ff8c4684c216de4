import type { Quarry } from "../processes/process-table.ts";

/** A hosted command while it runs, as its limits see it. */
export interface Guest {
  /** Of its deployment. */
  key: string;
  /** What it writes to. The deployments of one app share a home, which counts to each of them. */
  directories: readonly string[];
  quarry: Quarry;
  /** Into its log. */
  say(text: string): void;
  /** It takes more than its share, or what others need: it is to be ended at once. */
  exceeded(reason: string): void;
}
