import { serviceVariables } from "../../railway/operations.ts";
import type { StepOutcome } from "../provider.ts";
import { SOON_MS, unlessGone, wait, type RailwayStep } from "./step.ts";

/** Railway may carry out a creation this long after its answer was lost. Source: twice the longest call. */
const LATE_MS = 40_000;
const LATE_LOOK_MS = 5_000;

/** Deletes every service with this deployment's mark; done once it finds none. */
export async function removeService(step: RailwayStep): Promise<StepOutcome<null>> {
  const place = await step.place();
  let isBusy = false;
  for (const { id, name } of (await step.services()).candidates) {
    // Read again right before: somebody may have taken the service over a moment ago.
    const read = await unlessGone(step.call(serviceVariables, { ...place, service: id }, name));
    if (read === null) continue;
    const ownership = await step.ownership(read.variables);
    if (ownership !== "ours" && ownership !== "left") continue;
    await step.delete(id, name);
    isBusy = true;
  }
  if (isBusy) return wait(SOON_MS / 2, "Railway deletes the service");
  const { lastUnansweredAt } = step.memory;
  if (lastUnansweredAt !== null && Date.now() - lastUnansweredAt < LATE_MS) {
    return wait(LATE_LOOK_MS, "a service may still appear whose creation was never answered");
  }
  return { status: "done", value: null };
}
