import { command } from "../command.ts";
import { Failure } from "../failure.ts";
import { baselineState, existingParts, missingParts, type Baseline } from "../railway/baseline.ts";
import { applyToWorker, refuseUnknownSecrets } from "../railway/worker.ts";
import { nextSteps } from "../railway/next-steps.ts";
import { outcomeOf } from "../railway/outcome.ts";
import { ofBaseline } from "../railway/settings.ts";
import { updateBaseline, openBaseline, describePlace } from "../railway/update-baseline.ts";
import type { RailwayPlace } from "../railway/token.ts";

export const scaffold = command({
  name: "scaffold",
  summary: "makes the baseline in an empty Railway project, and the Worker's secrets",
  notes:
    "Makes the env service (yours to fill with variables) and the runner service with its volume. The Worker's secrets\n" +
    "are made once and kept on this machine, readable by you only; --apply hands them to wrangler on its standard input\n" +
    "and deploys the Worker, otherwise the steps are printed.",
  flags: {
    ...ofBaseline,
    resume: { type: "boolean", summary: "go on with a scaffold that was interrupted" },
    apply: { type: "boolean", summary: "also give the Worker its secrets and deploy it, with wrangler" },
  },
  async run(context, { flags }) {
    const opened = await openBaseline(context, flags);
    if (!flags.resume) refuseExisting(opened.place, opened.baseline);
    const apply = flags.apply && !flags["dry-run"];
    if (apply) await refuseUnknownSecrets(context, opened);
    context.interruption =
      "Interrupted; what was made stays. Go on with signalbox scaffold --resume and the same flags.";
    const outcome = await updateBaseline(context, flags, opened, "make");
    if (apply) await applyToWorker(context, flags, opened, outcome);
    const steps = flags["dry-run"] ? [] : nextSteps(context, flags, opened, outcome, apply);
    outcomeOf(context, opened, outcome, steps, flags["dry-run"]);
  },
});

/** Fresh only, as pulse-railway's: what is there belongs to `ensure`, or to somebody else. */
function refuseExisting(place: RailwayPlace, baseline: Baseline): void {
  const existing = existingParts(baseline);
  if (existing.length === 0) return;
  const there = existing.length === 1 ? "a service" : "services";
  const remedy =
    baselineState(baseline) === "complete"
      ? "The baseline is complete: signalbox ensure brings it up to date."
      : `Missing: ${missingParts(baseline).join(", ")}. If a scaffold was interrupted, go on with ` +
        `signalbox scaffold --resume; else delete ${existing.join(" and ")} in Railway and run it again.`;
  throw new Failure(
    "incomplete",
    "baseline_exists",
    `${describePlace(place)} has ${there} of the baseline: ${existing.join(", ")}. scaffold begins afresh only. ${remedy}`,
  );
}
