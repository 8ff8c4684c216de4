import { z } from "zod";

export const decisionSchema = z.object({
  app: z.string(),
  deployment: z.string(),
  /** `delete`: tell browsers, grace, unroute, take away; an orphan is taken away at once. `keep`: nothing. */
  action: z.enum(["delete", "keep"]),
  reason: z.enum([
    "deadline_passed",
    "no_sessions",
    "live_sessions",
    "sessions_unknown",
    "kept_for_rollback",
    "already_retiring",
    "no_longer_draining",
    // Of a service on Railway that no deployment has.
    "orphaned_service",
    "orphan_too_young",
    "orphan_unproven",
    "orphan_next_run",
    "orphan_changed",
  ]),
  /** For people: what was seen. */
  detail: z.string(),
});
export type Decision = z.infer<typeof decisionSchema>;

/** Whether it is about a deployment that drains, and not about what another one left behind. */
export function isAboutDrain({ reason }: Decision): boolean {
  return !reason.startsWith("orphan");
}

export const reportSchema = z.object({
  /** `lease_held`: another janitor is at work, this one did nothing. */
  outcome: z.enum(["completed", "lease_held", "lease_lost"]),
  dryRun: z.boolean(),
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
  decisions: z.array(decisionSchema),
  /** Apps that couldn't be looked at (`*`: what none is named for), with the reason; the next run looks again. */
  errors: z.array(z.object({ app: z.string(), message: z.string() })),
});
export type Report = z.infer<typeof reportSchema>;
