import { z } from "zod";
import { protocols } from "./registry.ts";

/** What the hub must still know of a socket when it wakes from hibernation; at most 16,384 bytes. */

const runnerAttachment = z.object({
  kind: z.literal("runner"),
  epoch: z.number().int(),
  protocol: z.enum(protocols),
  connectedAt: z.number(),
  /** Whether it came with the runner's own credential, whose revocation then ends it. */
  ownCredential: z.boolean(),
  /** When it last sent a message. The platform keeps the time of automatic answers itself. */
  lastHeardAt: z.number(),
  /** The latest runner-status as JSON. */
  status: z.string().nullable(),
  nextStream: z.number().int(),
  /** Credit that the hub has left, and bytes that it has yet to give back. */
  sendCreditBytes: z.number().int(),
  ungrantedBytes: z.number().int(),
});
export type RunnerAttachment = z.infer<typeof runnerAttachment>;

const publicAttachment = z.object({
  kind: z.literal("public"),
  epoch: z.number().int(),
  stream: z.number().int(),
  service: z.string(),
  /** Whose share it is of; a former version didn't say. */
  visitor: z.string().nullable().default(null),
});
export type PublicAttachment = z.infer<typeof publicAttachment>;

const attachment = z.discriminatedUnion("kind", [runnerAttachment, publicAttachment]);

/** Null for a socket that an earlier version of this Worker accepted and this one can't go on with. */
export function attachmentOf(socket: WebSocket): RunnerAttachment | PublicAttachment | null {
  return attachment.safeParse(socket.deserializeAttachment()).data ?? null;
}

export const RUNNER_TAG = "runner";
export const PUBLIC_TAG = "public";
