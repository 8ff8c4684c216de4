import type { CommandContext } from "../context.ts";
import { describeChange, type Change } from "./plan.ts";
import { placeOf, type Outcome, type Stack } from "./stack.ts";

/** Says what was done, or with `--dry-run` would be, and what is left for the operator. */
export function outcomeOf(
  context: CommandContext,
  { target, railway }: Stack,
  { changes, secrets, secretsFile, redis }: Outcome,
  steps: string[],
  dryRun: boolean,
): void {
  const value = {
    ...target,
    token: { from: railway.from, kind: railway.client.token.kind },
    redis,
    dryRun,
    changed: changes.length > 0 && !dryRun,
    changes: changes.map((change) => ({ kind: change.kind, text: describeChange(change) })),
    secretsFile: secrets === null ? null : secretsFile,
    nextSteps: steps,
  };
  context.output.result(value, () => {
    const place = placeOf(target);
    if (changes.length === 0) return [`Nothing to change in ${place}.`, ...left(steps)].join("\n");
    // The steps that were taken have been told one by one.
    const told = dryRun ? [`In ${place} this would be done:`, ...bullets(changes)] : [`Done in ${place}.`];
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
