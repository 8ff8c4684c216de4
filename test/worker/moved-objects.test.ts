import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { EMBEDDED_STORE_NAME, EmbeddedStoreClient } from "../../functions/state/embedded-client.ts";
import { StoreUnavailable } from "../../functions/state/store.ts";
import { change, operation } from "../contract/changes.ts";

const stub = () => env.EMBEDDED_STORE.getByName(EMBEDDED_STORE_NAME);

/** Begins calls while the object is busy, and has it die over them. */
async function callWhileItDies<T>(call: () => Promise<T>): Promise<T | Error> {
  let isBusy = false;
  let mayDie = false;
  const dying = runInDurableObject(stub(), (_store, state) =>
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

test("calls that may be made twice outlive the store's object", async () => {
  const store = new EmbeddedStoreClient(env.EMBEDDED_STORE);
  await store.commit(change("shop", 0));
  expect(await callWhileItDies(() => store.readApp("shop"))).toMatchObject({ name: "shop", version: 1 });
  const keyed = change("shop", 1, { idempotencyRecord: operation("key") });
  expect(await callWhileItDies(() => store.commit(keyed))).toEqual({ outcome: "committed", version: 2 });
  expect(await callWhileItDies(() => store.acquireLease("janitor", "one", 60_000))).toEqual({
    acquired: true,
  });
});

test("a call that mustn't be made twice is made once, and its caller is told that it may have happened", async () => {
  const store = new EmbeddedStoreClient(env.EMBEDDED_STORE);
  const lost = await callWhileItDies(() => store.commit(change("blog", 0)));
  expect(lost).toBeInstanceOf(StoreUnavailable);
  expect(lost).toMatchObject({ message: expect.stringContaining("may have been carried out") });
});
