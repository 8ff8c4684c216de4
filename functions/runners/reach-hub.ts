import type { RunnerHub } from "./hub.ts";
import { HUB_CALL_HEADER, type HubCall } from "./hub-call.ts";

/** The binding of the runners' hubs. */
export interface HubBinding {
  RUNNER_HUB: DurableObjectNamespace<RunnerHub>;
}

/** The real path travels in the call: a URL would normalize it. */
const URL_OF_HUB = "https://hub/";

/**
 * Calls the hub of a runner by `fetch`, which alone carries bodies and WebSockets. `whole`: as `FetchTarget` has it.
 * Headers in `init` become the call's own: one copy less for each request through a tunnel.
 */
export function fetchHub(
  env: HubBinding,
  call: HubCall,
  init: RequestInit,
  whole?: Request,
): Promise<Response> {
  const headers = init.headers instanceof Headers ? init.headers : new Headers(init.headers);
  headers.set(HUB_CALL_HEADER, encodeURIComponent(JSON.stringify(call).toWellFormed()));
  const request = whole === undefined ? URL_OF_HUB : new Request(URL_OF_HUB, whole);
  return hubOf(env, call.runnerId).fetch(request, { ...init, headers });
}

export function hubOf(env: HubBinding, runnerId: string): ReturnType<HubBinding["RUNNER_HUB"]["get"]> {
  return env.RUNNER_HUB.get(env.RUNNER_HUB.idFromName(runnerId));
}
