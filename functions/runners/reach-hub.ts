import { callObject } from "../durable-object-call.ts";
import { Problem, problemResponse } from "../errors.ts";
import type { RunnerHub } from "./hub.ts";
import { HUB_CALL_HEADER, type HubCall } from "./hub-call.ts";
import { openHead } from "./open-head.ts";
import { encodeTunnelCall, TUNNEL_CALL_HEADER } from "./tunnel-call.ts";

/** The binding of the runners' hubs. */
export interface HubBinding {
  RUNNER_HUB: DurableObjectNamespace<RunnerHub>;
}

export type HubStub = ReturnType<HubBinding["RUNNER_HUB"]["get"]>;

/** The real path travels in the call: a URL would normalize it. */
const URL_OF_HUB = "https://hub/";

/** Ids are made by hashing a name. Enough for the runners that an isolate sees, and bounded. */
const IDS_KEPT = 1_000;
const ids = new Map<string, DurableObjectId>();

/** Calls the hub of a runner by `fetch`, which alone carries bodies and WebSockets. `whole`: as `FetchBackend` has it. */
export function fetchHub(
  env: HubBinding,
  call: HubCall,
  init: RequestInit,
  whole?: Request,
): Promise<Response> {
  const given = init.headers instanceof Headers ? init.headers : new Headers(init.headers);
  const headers = new Headers();
  if (call.kind !== "tunnel") {
    headers.set(HUB_CALL_HEADER, encodeURIComponent(JSON.stringify(call).toWellFormed()));
    headers.set("upgrade", "websocket");
  } else {
    const { runnerId, service } = call;
    const method = whole?.method ?? init.method ?? "GET";
    let head: ReturnType<typeof openHead>;
    try {
      head = openHead(given, method, call);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return Promise.resolve(problemResponse(error, new Request(URL_OF_HUB, { method, headers: given })));
    }
    const { webSocket, address, text } = head;
    headers.set(TUNNEL_CALL_HEADER, encodeTunnelCall({ runnerId, service, webSocket, address, head: text }));
    if (webSocket) headers.set("upgrade", "websocket");
  }
  const request = whole === undefined ? URL_OF_HUB : new Request(URL_OF_HUB, whole);
  return hubOf(env, call.runnerId).fetch(request, { ...init, headers });
}

/** Calls a method of a runner's hub. All that reads or sets may be asked for twice. */
export function callHub<T>(
  env: HubBinding,
  runnerId: string,
  send: (hub: HubStub) => Promise<T>,
  { isRepeatable = true }: { isRepeatable?: boolean } = {},
): Promise<T> {
  return callObject({ open: () => hubOf(env, runnerId), send, isRepeatable });
}

export function hubOf(env: HubBinding, runnerId: string): HubStub {
  let id = ids.get(runnerId);
  if (id === undefined) {
    if (ids.size >= IDS_KEPT) ids.clear();
    id = env.RUNNER_HUB.idFromName(runnerId);
    ids.set(runnerId, id);
  }
  return env.RUNNER_HUB.get(id);
}
