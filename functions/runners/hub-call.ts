import { z } from "zod";
import type { Env } from "../config.ts";
import { protocols } from "./registry.ts";

/** Says what a request to a hub is for. No client can send it: the edge drops every header with this prefix. */
const HEADER = "x-signalbox-hub";

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

/** In place of a path, which travels in the call: in a URL it would be rewritten. */
const URL_OF_HUB = "https://hub/";

/**
 * Calls the hub of a runner by `fetch`, which alone carries bodies and WebSockets. `whole`: as `FetchTarget` has it.
 * Headers in `init` become the call's own: one copy less for each request through a tunnel.
 */
export function fetchHub(
  env: Pick<Env, "RUNNER_HUB">,
  call: HubCall,
  init: RequestInit,
  whole?: Request,
): Promise<Response> {
  const headers = init.headers instanceof Headers ? init.headers : new Headers(init.headers);
  headers.set(HEADER, encodeURIComponent(JSON.stringify(call).toWellFormed()));
  const request = whole === undefined ? URL_OF_HUB : new Request(URL_OF_HUB, whole);
  return hubOf(env, call.runnerId).fetch(request, { ...init, headers });
}

export function hubOf(env: Pick<Env, "RUNNER_HUB">, runnerId: string): ReturnType<Env["RUNNER_HUB"]["get"]> {
  return env.RUNNER_HUB.get(env.RUNNER_HUB.idFromName(runnerId));
}

export function callOf(request: Request): HubCall {
  return hubCall.parse(JSON.parse(decodeURIComponent(request.headers.get(HEADER) ?? "")));
}
