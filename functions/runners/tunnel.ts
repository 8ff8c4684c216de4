import type { FetchBackend } from "../apps/contract.ts";
import { fetchHub, type HubBinding } from "./reach-hub.ts";
import { parseRunnerUrl } from "./origin.ts";

/** Fetches from a runner's service through its hub, and from any other address as usual. */
export function fetchBackend(env: HubBinding): FetchBackend {
  return (url, init, whole) => {
    const target = parseRunnerUrl(url);
    if (target !== null) return fetchHub(env, { kind: "tunnel", ...target }, init, whole);
    return fetch(whole === undefined ? url : new Request(url, whole), init);
  };
}
