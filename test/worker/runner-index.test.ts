import { evictDurableObject, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RUNNER_STATUS_INTERVAL_MS, RUNNER_SUBPROTOCOL } from "../../functions/protocol/limits.ts";
import { RUNNER_TAG } from "../../functions/runners/attachments.ts";
import { fetchHub, hubOf } from "../../functions/runners/reach-hub.ts";
import { Presence } from "../../functions/runners/presence.ts";
import {
  connectedRunners,
  placeableRunners,
  type RunnerProtocol,
  type RunnerRecord,
} from "../../functions/runners/registry.ts";
import { openStore } from "../../functions/state/open.ts";
import type { StateStore } from "../../functions/state/store.ts";

let store: StateStore;

beforeEach(() => {
  store = openStore(env);
});

afterEach(() => reset());

async function connect(runnerId: string, protocol: RunnerProtocol = RUNNER_SUBPROTOCOL): Promise<WebSocket> {
  const call = { kind: "socket", runnerId, protocol, ownCredential: false } as const;
  const { webSocket } = await fetchHub(env, call, { headers: { upgrade: "websocket" } });
  if (!webSocket) throw new Error("The hub took no runner.");
  webSocket.accept();
  return webSocket;
}

function say(socket: WebSocket, payload: Record<string, unknown>): void {
  socket.send(JSON.stringify({ type: "runner-status", timestamp: "2026-01-01T00:00:00Z", payload }));
}

const idsOf = (records: RunnerRecord[]): string[] => records.map(({ id }) => id);
const connected = async (): Promise<string[]> => idsOf(await connectedRunners(store, 10));
const placeable = async (labels: Record<string, string> = {}): Promise<string[]> =>
  idsOf(await placeableRunners(store, labels, 10));

async function until(look: () => Promise<string[]>, wanted: string[]): Promise<void> {
  while (JSON.stringify(await look()) !== JSON.stringify(wanted))
    await new Promise((resolve) => setTimeout(resolve, 5));
}

test("a runner is found while it is there, by what it says of itself", async () => {
  const socket = await connect("r1");
  say(socket, { deployments: 3, labels: { region: "eu", gpu: "yes" } });
  await until(placeable, ["r1"]);
  expect(await connected()).toEqual(["r1"]);
  expect(await placeable({ gpu: "yes", region: "eu" })).toEqual(["r1"]);
  expect(await placeable({ region: "us" })).toEqual([]);
  socket.close(1000);
  await until(connected, []);
  expect(await placeable()).toEqual([]);
  expect(await placeable({ region: "eu" })).toEqual([]);
});

test("one that drains is connected and not placed on, and neither is a SentryVibe runner", async () => {
  const socket = await connect("r1");
  const old = await connect("r2", "sentryvibe");
  say(socket, {});
  say(old, {});
  await until(connected, ["r1", "r2"]);
  await until(placeable, ["r1"]);
  await hubOf(env, "r1").drain("r1", true);
  expect(await placeable()).toEqual([]);
  expect(await connected()).toEqual(["r1", "r2"]);
  await hubOf(env, "r1").drain("r1", false);
  expect(await placeable()).toEqual(["r1"]);
  await hubOf(env, "r1").drain("r1", true);
  const next = await connect("r1");
  say(next, {});
  expect(await connected()).toEqual(["r1", "r2"]);
  expect(await placeable()).toEqual([]);
});

test("the index lists a replaced runner once, and no lost, moved or forgotten one", async () => {
  await connect("r1");
  say(await connect("r1"), { labels: { region: "eu" } });
  await until(placeable, ["r1"]);
  await runInDurableObject(hubOf(env, "r1"), (_, ctx) => {
    for (const socket of ctx.getWebSockets(RUNNER_TAG))
      socket.serializeAttachment({ ...Object(socket.deserializeAttachment()), lastHeardAt: 0 });
  });
  await evictDurableObject(hubOf(env, "r1"), { webSockets: "hibernate" });
  expect(await runDurableObjectAlarm(hubOf(env, "r1"))).toBe(true);
  expect((await hubOf(env, "r1").view()).record?.state).toBe("lost");
  expect(await connected()).toEqual([]);

  say(await connect("r1"), { labels: { region: "eu" } });
  await until(placeable, ["r1"]);
  await evictDurableObject(hubOf(env, "r1"), { webSockets: "close" });
  await hubOf(env, "r1").view();
  await until(connected, []);
  expect(await hubOf(env, "r1").forget("r1")).toBe("forgotten");
  expect(await placeable({ region: "eu" })).toEqual([]);
});

test("a hub that was ended before the store had its word brings it there when it wakes", async () => {
  await runInDurableObject(hubOf(env, "r1"), async (_, { storage }) => {
    const presence = new Presence(storage.kv, store);
    presence.connected("r1", RUNNER_SUBPROTOCOL, false, Date.now());
    presence.heard(Date.now());
    await presence.publish();
    presence.moved("offline", "its connection closed", Date.now());
    // Here the machine ends: what is in storage is all that is left.
    expect(await placeable()).toEqual(["r1"]);
    const woken = new Presence(storage.kv, store);
    expect(woken.retryAt).not.toBeNull();
    await woken.publish();
  });
  expect(await connected()).toEqual([]);
});

test("a runner that a build from before the index has registered is entered when its hub wakes", async () => {
  await runInDurableObject(hubOf(env, "r1"), async (_, { storage }) => {
    const presence = new Presence(storage.kv, store);
    presence.connected("r1", RUNNER_SUBPROTOCOL, false, Date.now());
    presence.heard(Date.now());
    await presence.publish();
    const { deployments: _none, labels: _neither, ...before } = { ...presence.record };
    storage.kv.put("record", before);
    storage.kv.delete("indexed");
    await store.writeRecord("runner", "r1", JSON.stringify(before), Number(storage.kv.get("revision")));
    expect(await connected()).toEqual([]);
    const woken = new Presence(storage.kv, store);
    expect(woken.retryAt).toBe(0);
    await woken.publish();
    expect(await placeable()).toEqual(["r1"]);
    expect(new Presence(storage.kv, store).retryAt).toBeNull();
  });
});

test("a load that goes up and down is published once in a while, and a change of state takes it along", async () => {
  await runInDurableObject(hubOf(env, "r1"), async (_, { storage }) => {
    const presence = new Presence(storage.kv, store);
    const start = Date.now();
    const says = (deployments: number, at: number) =>
      presence.reportLoad({ deployments, labels: undefined, confinement: null }, at);
    presence.connected("r1", RUNNER_SUBPROTOCOL, false, start);
    says(0, start);
    presence.heard(start);
    await presence.publish();
    expect(presence.retryAt).toBeNull();
    says(0, start + 1);
    expect(presence.retryAt).toBeNull();
    says(1, start + 2);
    expect(presence.retryAt).toBe(start + 2);
    await presence.publish();
    for (let at = 3; at < 1_000; at++) says(at % 5, start + at);
    expect(presence.retryAt).toBe(start + 2 + RUNNER_STATUS_INTERVAL_MS);
    presence.moved("draining", "it is about to end", start + 1_000);
    expect(presence.retryAt).toBe(0);
    await presence.publish();
    expect((await connectedRunners(store, 10))[0]).toMatchObject({ state: "draining", deployments: 4 });
  });
});
