import type { JanitorReport } from "../../client/control-types.ts";
import { printableLine } from "../../../functions/protocol/printable.ts";
import { age } from "../ages.ts";
import { command, connection } from "../command.ts";
import { Failure } from "../failure.ts";
import type { Output } from "../output.ts";

export const runJanitor = command({
  name: "janitor run",
  summary: "checks every draining deployment now and deletes those that nobody uses",
  flags: {
    ...connection,
    "dry-run": { type: "boolean", summary: "say what would be deleted and why; changes nothing" },
  },
  async run(context, { flags }) {
    const report = await (await context.control()).runJanitor(flags["dry-run"]);
    context.output.result(report, () => describe(report, context.output));
    if (report.outcome === "lease_held") {
      throw new Failure(
        "failed",
        "lease_held",
        "Another run is under way; this one did nothing. signalbox janitor last shows its report.",
      );
    }
  },
});

export const lastJanitor = command({
  name: "janitor last",
  summary: "the last run, with a decision and a reason for each deployment",
  flags: connection,
  async run(context) {
    const last = await (await context.control()).lastJanitor();
    const { output } = context;
    output.result(last, () => {
      if (last.report === null) return "The janitor hasn't run yet.";
      const stale = last.stale
        ? `\n${output.style.red("That is too long ago: is the cron trigger there?")}`
        : "";
      return `${describe(last.report, output)}${stale}`;
    });
  },
});

function describe(report: JanitorReport, output: Output): string {
  const { style } = output;
  const when = `${report.dryRun ? "Dry run" : "Run"} ${age(report.finishedAt, Date.now())} ago, ${printableLine(report.outcome)}`;
  const errors = report.errors.map(({ app, message }) => `\n${style.red(`${app}: ${message}`)}`).join("");
  if (report.decisions.length === 0) return `${when}: nothing drains.${errors}`;
  const rows = report.decisions.map(({ app, deployment, action, reason, detail }) => [
    app,
    deployment,
    action === "delete" ? style.yellow(action) : action,
    reason,
    detail,
  ]);
  return `${when}\n${output.table(["APP", "DEPLOYMENT", "DECISION", "REASON", ""], rows)}${errors}`;
}
