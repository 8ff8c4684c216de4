import { expect, test } from "vitest";
import { violations } from "../../functions/apps/invariants.ts";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onEmbedded, onUpstash, type OpenStack } from "../helpers/both-stores.ts";
import { CountingSocket, countNonces, startLoad } from "../helpers/load.ts";
import { until } from "../helpers/stack.ts";

const HOST = "busy.test";

test.each([
  { store: "the embedded store", open: onEmbedded, changes: 50 },
  { store: "Upstash", open: onUpstash, changes: 20 },
])("promotes and rollbacks under load cut, lose and double nothing, on $store", async ({ open, changes }) => {
  const world = await open({ ROUTE_TTL_MS: "200" });
  const backends: Backend[] = [];
  try {
    const { stack } = world;
    await stack.api("PUT", "/apps/busy", { hosts: [HOST] });
    for (const id of ["v1", "v2", "v3"]) backends.push(await deploy(world, id));
    const nonces = countNonces(backends);
    const sockets = await Promise.all([
      ...Array.from({ length: 8 }, () => socketOn(world, "v1")),
      ...Array.from({ length: 2 }, () => socketOn(world, "v2")),
    ]);
    const load = startLoad({
      origin: stack.origin,
      host: HOST,
      streams: [
        { name: "pinned-v1", pin: "v1", connections: 8 },
        { name: "pinned-v2", pin: "v2", connections: 4 },
        { name: "unpinned", pin: null, connections: 8 },
      ],
    });

    await until(
      () => nonces.size,
      (size) => size > 500,
    );
    for (let change = 0; change < changes; change++) await changeTraffic(world, change);
    const reports = await load.stop();
    const faults = (await Promise.all(sockets.map((socket) => socket.finish()))).flat();

    const answered = reports.reduce((sum, report) => sum + report.answered, 0);
    const ticks = sockets.reduce((sum, socket) => sum + socket.received, 0);
    console.log(
      `${changes} changes, ${answered} answers, ${ticks} socket messages; ` +
        reports.map(({ name, slowestMs }) => `${name} slowest ${slowestMs} ms`).join(", "),
    );
    expect(faults).toEqual([]);
    for (const report of reports) {
      expect(report).toMatchObject({ errors: 0, wrong: [] });
      expect(report.answered).toBe(report.sent);
    }
    const [pinned1, pinned2, unpinned] = reports;
    expect(Object.keys(pinned1?.from ?? {})).toEqual(["v1"]);
    expect(Object.keys(pinned2?.from ?? {})).toEqual(["v2"]);
    expect(Object.keys(unpinned?.from ?? {}).length).toBeGreaterThan(1);
    expect(nonces.size).toBe(answered);
    expect([...nonces].filter(([, count]) => count !== 1)).toEqual([]);
    expect(ticks).toBeGreaterThan(1_000);
  } finally {
    await Promise.all(backends.map((backend) => backend.close()));
    await world.stop();
  }
});

async function deploy(world: OpenStack, id: string): Promise<Backend> {
  const backend = await startBackend(id);
  const target = { kind: "url", url: backend.url };
  const answer = await world.stack.api("POST", "/apps/busy/deployments", { id, target });
  expect(answer.status).toBe(202);
  await world.stack.control.until("busy", id, ["active"], 60_000);
  return backend;
}

function socketOn(world: OpenStack, id: string): Promise<CountingSocket> {
  return CountingSocket.open({ port: world.stack.port, host: HOST, pin: id, from: id });
}

/** A promote of another version, a rollback, and so on; each is seen by visitors before the next one comes. */
async function changeTraffic(world: OpenStack, change: number): Promise<void> {
  const { stack } = world;
  const before = await world.document("busy");
  const others = ["v1", "v2", "v3"].filter((id) => id !== before?.active);
  const promoted = others[change % others.length] ?? "v1";
  const path = change % 2 === 0 ? `/apps/busy/deployments/${promoted}/promote` : "/apps/busy/rollback";
  const wanted = change % 2 === 0 ? promoted : before?.previous?.id;
  const answer = await stack.api("POST", path);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  const after = await world.document("busy");
  expect(after && violations(after)).toEqual([]);
  expect(after?.active).toBe(wanted);
  await until(
    () => stack.request(HOST, "/"),
    ({ headers }) => headers["x-pulse-selected-deployment"] === wanted,
  );
}
