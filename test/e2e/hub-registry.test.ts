import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WRITE_RECORD } from "../../functions/state/upstash-scripts.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { until } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

let world: UpstashStack;
const connected: TunnelClient[] = [];

beforeAll(async () => {
  world = await onUpstash();
});

afterAll(() => world.stop());

afterEach(async () => {
  await Promise.all(connected.splice(0).map((runner) => runner.close()));
});

async function connect(id: string): Promise<TunnelClient> {
  const runner = await connectRunner(world.stack, id);
  connected.push(runner);
  await registered(id, (record) => record?.state === "online");
  return runner;
}

interface Registered {
  state: string;
  drainRequested: boolean;
  epoch: number;
}

async function readRegistry(id: string): Promise<Registered | null> {
  const body = await world.store.readRecord("runner", id);
  return body === null ? null : (JSON.parse(body) as Registered);
}

const registered = (id: string, fits: (record: Registered | null) => boolean) =>
  until(() => readRegistry(id), fits);

/** Keeps the first write of a record on its way that holds a text, until it is let go. */
function holdUp(id: string, text: string): { held: Promise<void>; letGo: () => Promise<void> } {
  const held = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  let late: string[] | null = null;
  const unhook = world.front.onCommand(async (command, phase) => {
    const [, script, , ...rest] = command;
    if (phase === "after" && command === late) return arrived.resolve();
    if (late !== null || phase !== "before" || script !== WRITE_RECORD) return;
    if (!rest.includes(id) || !rest.some((part) => part.includes(text))) return;
    late = command;
    held.resolve();
    await released.promise;
  });
  return {
    held: held.promise,
    async letGo() {
      released.resolve();
      await arrived.promise;
      unhook();
    },
  };
}

test("a write of the registry that comes late doesn't undo a newer one", async () => {
  const id = "late-write";
  await connect(id);
  const draining = holdUp(id, '"state":"draining"');
  const drained = world.stack.api("POST", `/runners/${id}/drain`, {});
  await draining.held;
  expect((await drained).status).toBe(503);
  await until(
    () => world.stack.api("POST", `/runners/${id}/drain`, { draining: false }),
    ({ status }) => status === 200,
  );
  expect(await readRegistry(id)).toMatchObject({ state: "online", drainRequested: false });
  await draining.letGo();
  expect(await readRegistry(id)).toMatchObject({ state: "online", drainRequested: false });
});

test("a write that comes after its runner was forgotten doesn't bring it back, and the runner itself does", async () => {
  const id = "late-forgotten";
  const runner = await connect(id);
  const offline = holdUp(id, '"state":"offline"');
  await runner.close();
  await offline.held;
  await until(
    () => world.stack.api("DELETE", `/runners/${id}`),
    ({ status }) => status === 200,
  );
  expect(await readRegistry(id)).toBeNull();
  await offline.letGo();
  expect(await readRegistry(id)).toBeNull();
  await connect(id);
  expect(await readRegistry(id)).toMatchObject({ state: "online", epoch: 2 });
});

test("a hub that has lost its memory goes on above what it wrote before", async () => {
  const id = "no-memory";
  const before = JSON.stringify({ state: "from another life" });
  await world.store.writeRecord("runner", id, before, Date.now() + 1_000_000);
  await connect(id);
  expect(await readRegistry(id)).toMatchObject({ state: "online", epoch: 1 });
});
