import { command } from "../command.ts";
import { baselineState } from "../railway/baseline.ts";
import { nextSteps } from "../railway/next-steps.ts";
import { outcomeOf } from "../railway/outcome.ts";
import { ofBaseline } from "../railway/settings.ts";
import { bringAbout, openStack, refuseIncomplete } from "../railway/stack.ts";

export const ensure = command({
  name: "ensure",
  summary: "make the Railway baseline, or bring a complete one up to date",
  notes:
    "On an empty project it makes what scaffold makes. On a complete baseline it sets what Signalbox owns: the runner's\n" +
    "variables, health check and deploy settings, and the canvas group. It refuses a partial one, and never switches\n" +
    "the Redis mode.",
  flags: ofBaseline,
  async run(session, { flags }) {
    const stack = await openStack(session, flags);
    const empty = baselineState(stack.baseline) === "empty";
    if (!empty) refuseIncomplete(stack.target, stack.baseline);
    session.interruption = "Interrupted; what was set stays. Run signalbox ensure again.";
    if (empty)
      session.interruption = "Interrupted; what was made stays. Go on with signalbox scaffold --resume.";
    const outcome = await bringAbout(session, flags, stack, empty ? "make" : "mend");
    const steps = empty && !flags["dry-run"] ? nextSteps(session, flags, stack, outcome, false) : [];
    outcomeOf(session, stack, outcome, steps, flags["dry-run"]);
  },
});
