import { z } from "zod";
import { protocols } from "./registry.ts";

/** Says what a socket to a hub is for. No client can send it: the edge drops every header with this prefix. */
export const HUB_CALL_HEADER = "x-signalbox-hub";

const socketCall = z.object({
  kind: z.literal("socket"),
  runnerId: z.string(),
  protocol: z.enum(protocols),
  ownCredential: z.boolean(),
  /** Of the runner's own secret: the one that it came with, or with the shared secret the one that it enrols. */
  credentialSha256: z.string().optional(),
  /** The shared secret alone isn't enough. */
  mustEnrol: z.boolean().optional(),
});
export type SocketCall = z.infer<typeof socketCall>;

/** A runner's further connection, for one visitor's WebSocket. */
const joinCall = z.object({
  kind: z.literal("join"),
  runnerId: z.string(),
  epoch: z.number().int(),
  stream: z.number().int(),
});

const ownCall = z.discriminatedUnion("kind", [socketCall, joinCall]);
export type OwnCall = z.infer<typeof ownCall>;

/** A runner's own, or a request through its tunnel. */
export type HubCall = OwnCall | { kind: "tunnel"; runnerId: string; service: string; path: string };

export function ownCallOf(request: Request): OwnCall {
  return ownCall.parse(JSON.parse(decodeURIComponent(request.headers.get(HUB_CALL_HEADER) ?? "")));
}
