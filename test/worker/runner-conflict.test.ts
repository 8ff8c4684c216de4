import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { REPLACED_DELAY_MS, RUNNER_SUBPROTOCOL } from "../../functions/protocol/limits.ts";
import { hubOf } from "../../functions/runners/reach-hub.ts";
import { Presence } from "../../functions/runners/presence.ts";
import { openStore } from "../../functions/state/open.ts";

test("two runners that politely take turns with one id are flagged, and no longer once they have stopped", async () => {
  await runInDurableObject(hubOf(env, "twins"), (_, { storage }) => {
    const presence = new Presence(storage.kv, openStore(env));
    const start = Date.now();
    // Each comes back when it has waited, which takes a little longer than it says.
    const turnMs = REPLACED_DELAY_MS + 2_000;
    for (let turn = 0; turn < 6; turn++) {
      presence.connected("twins", RUNNER_SUBPROTOCOL, turn > 0, start + turn * turnMs);
      if (turn === 1) expect(presence.record?.conflict).toBe(false);
      if (turn >= 3) expect(presence.record?.conflict).toBe(true);
    }
    presence.lookForConflict(start + 20 * turnMs);
    expect(presence.record?.conflict).toBe(false);
  });
});
