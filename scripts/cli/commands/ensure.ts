import { command } from "../command.ts";
import { baselineState } from "../railway/baseline.ts";
import { nextSteps } from "../railway/next-steps.ts";
import { outcomeOf } from "../railway/outcome.ts";
import { ofBaseline } from "../railway/settings.ts";
import { updateBaseline, openBaseline, refuseIncomplete } from "../railway/update-baseline.ts";

export const ensure = command({
  name: "ensure",
  summary: "makes the Railway baseline, or brings a complete one up to date",
  notes:
    "On an empty project it makes what scaffold makes. On a complete baseline it sets what Signalbox owns: the runner's\n" +
    "variables, health check and deploy settings, and the canvas group. It refuses a partial one, and never switches\n" +
    "the Redis mode.",
  flags: ofBaseline,
  async run(context, { flags }) {
    const opened = await openBaseline(context, flags);
    const empty = baselineState(opened.baseline) === "empty";
    if (!empty) refuseIncomplete(opened.place, opened.baseline);
    context.interruption = "Interrupted; what was set stays. Run signalbox ensure again.";
    if (empty)
      context.interruption = "Interrupted; what was made stays. Go on with signalbox scaffold --resume.";
    const outcome = await updateBaseline(context, flags, opened, empty ? "make" : "mend");
    const steps = empty && !flags["dry-run"] ? nextSteps(context, flags, opened, outcome, false) : [];
    outcomeOf(context, opened, outcome, steps, flags["dry-run"]);
  },
});
