import { z } from "zod";
import { protocols } from "./registry.ts";

/** Says what a request to a hub is for. No client can send it: the edge drops every header with this prefix. */
export const HUB_CALL_HEADER = "x-signalbox-hub";

const hubCall = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("socket"),
    runnerId: z.string(),
    protocol: z.enum(protocols),
    ownCredential: z.boolean(),
  }),
  z.object({ kind: z.literal("tunnel"), runnerId: z.string(), service: z.string(), path: z.string() }),
]);
export type HubCall = z.infer<typeof hubCall>;

export function callOf(request: Request): HubCall {
  return hubCall.parse(JSON.parse(decodeURIComponent(request.headers.get(HUB_CALL_HEADER) ?? "")));
}
