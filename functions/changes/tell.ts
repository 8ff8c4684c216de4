import { waitUntil } from "cloudflare:workers";
import { changeHub, type ChangesBinding } from "./binding.ts";

/** Costs one call and delays nothing. A lost one is made good by the next change, or by a reader that comes back. */
export function tellChange(env: ChangesBinding, topic: string): void {
  waitUntil(
    changeHub(env)
      .tell(topic)
      .catch(() => undefined), // whoever looks finds out from the next one
  );
}
