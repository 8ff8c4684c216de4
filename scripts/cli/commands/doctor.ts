import { command, connection } from "../command.ts";
import type { Check, Checks } from "../doctor/check.ts";
import { localChecks } from "../doctor/local-checks.ts";
import { serverChecks } from "../doctor/server-checks.ts";
import { railwayChecks } from "../doctor/railway-checks.ts";
import { Failure } from "../failure.ts";
import { railwayPlace } from "../railway/settings.ts";
import type { Output } from "../output.ts";

export const doctor = command({
  name: "doctor",
  summary: "checks every setting and says how to fix what is wrong",
  flags: { ...connection, ...railwayPlace },
  async run(context, { flags }) {
    const { output } = context;
    const checks: Check[] = [];
    // In the order in which one rests on the other.
    const parts: Checks[] = [localChecks, serverChecks, () => railwayChecks(context, flags)];
    for (const part of parts) {
      for await (const check of part(context)) {
        checks.push(check);
        output.say(describe(check, output));
      }
    }
    const failed = checks.filter(({ state }) => state === "wrong");
    output.result({ ok: failed.length === 0, checks }, () =>
      failed.length === 0 ? "\nNothing is wrong." : "",
    );
    if (failed.length === 0) return;
    const names = [...new Set(failed.map(({ name }) => name))].join(", ");
    throw new Failure("failed", "checks_failed", `Something is wrong with: ${names}.`);
  },
});

function describe({ name, state, detail, remedy }: Check, { style }: Output): string {
  const marks = { ok: style.green("✓"), note: style.yellow("•"), wrong: style.red("✗") };
  const line = `${marks[state]} ${name.padEnd(14)} ${detail}`;
  return remedy === undefined ? line : `${line}\n  ${" ".repeat(14)} ${style.dim(remedy)}`;
}
