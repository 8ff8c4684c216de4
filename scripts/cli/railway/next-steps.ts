import type { CommandContext } from "../context.ts";
import { secretNames } from "./secrets.ts";
import { serverOf } from "./settings.ts";
import type { Outcome, OpenBaseline } from "./update-baseline.ts";
import { knownSettings } from "./worker.ts";

/** What is left for the operator to do, in order. Names secrets, never shows one. */
export function nextSteps(
  context: CommandContext,
  flags: { server: string | undefined },
  opened: OpenBaseline,
  outcome: Outcome,
  applied: boolean,
): string[] {
  const { place, railway } = opened;
  const known = new Set(applied ? Object.keys(knownSettings(context, opened, outcome)) : []);
  const steps: string[] = [];
  if (!applied) {
    steps.push(
      `npx wrangler secret bulk ${outcome.secretsFile} (${secretNames.join(", ")} were made and are kept there, ` +
        "readable by you only)",
    );
  }
  if (!known.has("RAILWAY_TOKEN")) {
    steps.push(
      railway.scope === null
        ? `make a project token for ${place.environment.name} in the settings of Railway's project ` +
            `${place.project.name}, then: npx wrangler secret put RAILWAY_TOKEN (the Worker deploys with it)`
        : "npx wrangler secret put RAILWAY_TOKEN (the project token, with which the Worker deploys)",
    );
  }
  if (outcome.redis === "upstash" && !known.has("UPSTASH_REDIS_REST_URL")) {
    steps.push(
      "npx wrangler secret put UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN (without them the Worker keeps its " +
        "state in its own Durable Object)",
    );
  }
  if (!applied) steps.push("npx wrangler deploy");
  const server = serverOf(context, flags);
  if (!applied && server !== null)
    steps.push(`signalbox login --server ${server} (the token is CONTROL_TOKEN in ${outcome.secretsFile})`);
  steps.push("signalbox doctor");
  return steps;
}
