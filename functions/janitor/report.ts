import { z } from "zod";

export const decisionSchema = z.object({
  app: z.string(),
  deployment: z.string(),
  /** `delete`: its browsers are told, it is unrouted, then its backend goes; an orphan goes at once. */
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
  /** Pages or sessions that are left, where they could be counted. */
  sessions: z.number().optional(),
});
export type Decision = z.infer<typeof decisionSchema>;

/** Whether it is about a draining deployment, and not about an orphan. */
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
  /** Apps that this run couldn't sweep, with the reason (`*`: no app's fault); the next run tries again. */
  errors: z.array(z.object({ app: z.string(), message: z.string() })),
});
export type Report = z.infer<typeof reportSchema>;
