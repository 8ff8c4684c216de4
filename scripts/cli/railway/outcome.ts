import type { CommandContext } from "../context.ts";
import { describeChange, type Change } from "./plan.ts";
import { describePlace, type Outcome, type OpenBaseline } from "./update-baseline.ts";

/** Says what was done, or with `--dry-run` would be, and what is left for the operator. */
export function outcomeOf(
  context: CommandContext,
  { place, railway }: OpenBaseline,
  { changes, secrets, secretsFile, redis }: Outcome,
  steps: string[],
  dryRun: boolean,
): void {
  const value = {
    ...place,
    token: { from: railway.from, kind: railway.client.token.kind },
    redis,
    dryRun,
    changed: changes.length > 0 && !dryRun,
    changes: changes.map((change) => ({ kind: change.kind, text: describeChange(change) })),
    secretsFile: secrets === null ? null : secretsFile,
    nextSteps: steps,
  };
  context.output.result(value, () => {
    const where = describePlace(place);
    if (changes.length === 0) return [`Nothing to change in ${where}.`, ...left(steps)].join("\n");
    // The steps that were taken have been told one by one.
    const told = dryRun ? [`In ${where} this would be done:`, ...bullets(changes)] : [`Done in ${where}.`];
    return [...told, ...left(steps)].join("\n");
  });
}

function bullets(changes: Change[]): string[] {
  return changes.map((change) => `  ${describeChange(change)}`);
}

function left(steps: string[]): string[] {
  if (steps.length === 0) return [];
  return ["", "Next:", ...steps.map((step, index) => `  ${index + 1}. ${step}`)];
}
