import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, expect, test, vi } from "vitest";
import { configOf, type ConfigEnv } from "../../functions/config.ts";
import { endSignIn, findSignIn, startSignIn, type SignInContext } from "../../functions/dashboard/sign-in.ts";
import { openStore } from "../../functions/state/open.ts";

const AUTHORITY = "op.example";
const HOUR_MS = 3_600_000;

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

function contextAt(time: { now: number }): SignInContext {
  return {
    config: configOf(env as ConfigEnv),
    store: openStore(env),
    now: () => time.now,
    authority: AUTHORITY,
  };
}

function carrying(cookie: string, key: string): Request {
  const headers = { cookie: cookie.split(";", 1)[0] ?? "", "x-signalbox-key": key };
  return new Request(`https://${AUTHORITY}/_signalbox/api/v1/apps`, { headers });
}

function records(): Promise<{ id: string; body: string }[]> {
  return openStore(env).listRecords("operator-sign-in", { after: null, limit: 100 });
}

test("the store holds neither the cookie nor the key", async () => {
  const { cookie, key } = await startSignIn(contextAt({ now: Date.now() }), true);
  const stored = JSON.stringify(await records());
  const [, id = "", signature = ""] = /=([\w-]{43})\.([0-9a-f]{64});/.exec(cookie) ?? [];
  for (const secret of [id, signature, key]) {
    expect(secret).not.toBe("");
    expect(stored).not.toContain(secret);
  }
});

test("a sign-in ends after 12 hours, and the next one takes its record away", async () => {
  const time = { now: Date.now() };
  const context = contextAt(time);
  const { cookie, key } = await startSignIn(context, true);
  time.now += 12 * HOUR_MS - 1;
  expect(await findSignIn(carrying(cookie, key), context)).not.toBeNull();
  time.now += 1;
  expect(await findSignIn(carrying(cookie, key), context)).toBeNull();
  await startSignIn(context, true);
  expect(await records()).toHaveLength(1);
});

test("one that has ended stays so, whatever is carried", async () => {
  const context = contextAt({ now: Date.now() });
  const { cookie, key } = await startSignIn(context, true);
  const id = await findSignIn(carrying(cookie, key), context);
  await endSignIn(id ?? "", context.store);
  expect(await findSignIn(carrying(cookie, key), context)).toBeNull();
  expect(await records()).toEqual([]);
});

test("what we didn't sign costs no look into the store", async () => {
  const context = contextAt({ now: Date.now() });
  const { cookie, key } = await startSignIn(context, true);
  const look = vi.spyOn(context.store, "readRecord");
  const forged = cookie.replace(/\.[0-9a-f]{64}/, `.${"0".repeat(64)}`);
  for (const carried of [forged, forged.replace("__Host-", ""), cookie.replace("__Host-", ""), "a=b"]) {
    expect(await findSignIn(carrying(carried, key), context)).toBeNull();
  }
  expect(await findSignIn(carrying(cookie, key), { ...context, authority: "other.example" })).toBeNull();
  expect(look).not.toHaveBeenCalled();
});
