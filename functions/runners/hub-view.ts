import { z } from "zod";
import { runnerStates, type RunnerRecord } from "./registry.ts";

/** One of a runner's last connections. */
export const connection = z.object({
  epoch: z.number(),
  state: z.enum(runnerStates),
  reason: z.string(),
  since: z.number(),
  connectedAt: z.number(),
});
export type Connection = z.infer<typeof connection>;

/** What a hub says of its runner beyond the registry's record. */
export interface HubView {
  record: RunnerRecord | null;
  lastHeardAt: number | null;
  /** The latest runner-status event and the recent others, as JSON. */
  status: string | null;
  recentEvents: string;
  connections: Connection[];
  openStreams: number;
  /** When the hub last woke from hibernation, or was created. */
  awakeSince: number;
}
