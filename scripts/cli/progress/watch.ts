import { setTimeout as sleep } from "node:timers/promises";
import { createLogUpdate } from "log-update";
import { printableLine } from "../../../functions/protocol/printable.ts";
import { ControlProblem, ControlUnreachable } from "../../client/control-client.ts";
import type { CommandContext } from "../context.ts";

const REREAD_MS = 2_000;

/** What is looked at, as it is now. */
export interface Look {
  value: unknown;
  /** The picture. */
  text: string;
  /** One line for each thing, by its name, without what changes by itself. */
  facts: ReadonlyMap<string, string>;
}

/**
 * Shows a look again and again, until Ctrl-C. In a terminal it is redrawn in place; a pipe gets a line for each thing that
 * changed, and with `--json` a document for each change. A server that is away is waited for.
 */
export async function watch(context: CommandContext, look: () => Promise<Look>): Promise<void> {
  const { output, signal } = context;
  // Ctrl-C is how one stops looking.
  context.interruption = "";
  const live = output.live ? createLogUpdate(process.stdout) : null;
  context.atEnd(() => live?.done());
  let known: ReadonlyMap<string, string> | null = null;
  let picture = "";
  let shown = "";
  let away = "";
  while (!signal.aborted) {
    try {
      const { value, text, facts } = await look();
      if (away !== "" && live === null) output.remark("The server is back.");
      away = "";
      picture = text;
      const document = JSON.stringify([...facts]);
      if (live === null && document !== shown) {
        output.event(value, () => null);
        if (!output.json) sayChanges(context, known, facts);
      }
      shown = document;
      known = facts;
    } catch (error) {
      // What is wrong from the start is for the caller; what goes wrong later may pass.
      if (known === null || !mayPass(error)) throw error;
      const why = printableLine(error.message);
      if (away !== why && live === null) output.remark(`${why} Trying again.`);
      away = why;
    }
    live?.(output.rendered(`${picture}\n\n${footer(context, away)}`));
    await sleep(REREAD_MS, undefined, { signal }).catch(() => undefined);
  }
}

function footer({ output: { style } }: CommandContext, away: string): string {
  return away === "" ? style.dim("live; Ctrl-C ends") : style.yellow(`${away} Trying again.`);
}

function sayChanges(
  { output }: CommandContext,
  before: ReadonlyMap<string, string> | null,
  now: ReadonlyMap<string, string>,
): void {
  const at = new Date().toISOString();
  for (const [name, fact] of now)
    if (before?.get(name) !== fact) output.say(`${at} ${printableLine(name)} ${printableLine(fact)}`);
  for (const name of before?.keys() ?? [])
    if (!now.has(name)) output.say(`${at} ${printableLine(name)} gone`);
}

function mayPass(error: unknown): error is Error {
  return error instanceof ControlUnreachable || (error instanceof ControlProblem && error.status >= 500);
}
