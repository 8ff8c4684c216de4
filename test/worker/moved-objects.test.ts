import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import type { RunnerHub } from "../../functions/runners/hub.ts";
import { callHub, hubOf } from "../../functions/runners/reach-hub.ts";
import { sendCommand } from "../../functions/runners/send-command.ts";
import type { EmbeddedStore } from "../../functions/state/embedded.ts";
import { EMBEDDED_STORE_NAME, EmbeddedStoreClient } from "../../functions/state/embedded-client.ts";
import { StoreUnavailable } from "../../functions/state/store.ts";
import { change, operation } from "../contract/changes.ts";

const theStore = () => env.EMBEDDED_STORE.getByName(EMBEDDED_STORE_NAME);
const hub = () => hubOf(env, "moved");

/** Begins calls while the object is busy, and has it die over them. */
async function callWhileItDies<T>(
  object: DurableObjectStub<EmbeddedStore> | DurableObjectStub<RunnerHub>,
  call: () => Promise<T>,
): Promise<T | Error> {
  let isBusy = false;
  let mayDie = false;
  const dying = runInDurableObject<EmbeddedStore | RunnerHub, void>(object, (_, state) =>
    state.blockConcurrencyWhile(async () => {
      isBusy = true;
      await until(() => mayDie);
      throw new Error("it is moved");
    }),
  ).catch(() => undefined);
  await until(() => isBusy);
  const outcome = call().catch((error: Error) => error);
  await new Promise((resolve) => setTimeout(resolve, 50));
  mayDie = true;
  await dying;
  return outcome;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test("calls that read or set outlive a runner's hub", async () => {
  const drained = await callWhileItDies(hub(), () =>
    callHub(env, "moved", (one) => one.drain("moved", true)),
  );
  expect(drained).toMatchObject({ record: { id: "moved", drainRequested: true }, published: true });
  const seen = await callWhileItDies(hub(), () => callHub(env, "moved", (one) => one.view()));
  expect(seen).toMatchObject({ record: { drainRequested: true } });
});

test("a runner's command is sent once, and its caller is told that it may have been carried out", async () => {
  const command = { id: "one", type: "list-files" };
  const lost = await callWhileItDies(hub(), () => sendCommand(env, "moved", command, { waitMs: 0 }));
  expect(lost).toMatchObject({
    code: "object_unavailable",
    message: expect.stringContaining("may have been"),
  });
});

test("calls that may be made twice outlive the store's object", async () => {
  const store = new EmbeddedStoreClient(env.EMBEDDED_STORE);
  await store.commit(change("shop", 0));
  expect(await callWhileItDies(theStore(), () => store.readApp("shop"))).toMatchObject({
    name: "shop",
    version: 1,
  });
  const keyed = change("shop", 1, { idempotencyRecord: operation("key") });
  expect(await callWhileItDies(theStore(), () => store.commit(keyed))).toEqual({
    outcome: "committed",
    version: 2,
  });
  expect(await callWhileItDies(theStore(), () => store.acquireLease("janitor", "one", 60_000))).toEqual({
    acquired: true,
  });
});

test("a call that mustn't be made twice is made once, and its caller is told that it may have happened", async () => {
  const store = new EmbeddedStoreClient(env.EMBEDDED_STORE);
  const lost = await callWhileItDies(theStore(), () => store.commit(change("blog", 0)));
  expect(lost).toBeInstanceOf(StoreUnavailable);
  expect(lost).toMatchObject({ message: expect.stringContaining("may have been carried out") });
});
