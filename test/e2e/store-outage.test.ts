import { expect, test } from "vitest";
import { violations } from "../../functions/apps/invariants.ts";
import { STORE_TIMEOUT_MS } from "../../functions/protocol/limits.ts";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { CountingSocket, countNonces } from "../helpers/load.ts";
import { CONTROL_TOKEN, INTERNAL_TOKEN, until } from "../helpers/stack.ts";

const HOST = "steady.test";
const TTL_MS = 500;
const OUTAGE_MS = 60_000;
/** What a visitor of a cached host may wait at worst; measured about a hundredth of it. */
const SLOWEST_VISIT_MS = 5_000;
/** What an operator may: the store's whole time, and what a loaded machine adds. */
const SLOWEST_CALL_MS = STORE_TIMEOUT_MS + 4_000;

test.concurrent.each(["refuse", "hang"] as const)(
  "for a minute in which the store %ss, visitors notice nothing, operators are told, and all heals by itself",
  async (mode) => {
    const world = await onUpstash({ ROUTE_TTL_MS: String(TTL_MS) });
    const backends: Backend[] = [];
    try {
      await world.stack.api("PUT", "/apps/steady", { hosts: [HOST] });
      for (const id of ["v1", "v2"]) backends.push(await deploy(world, id));
      const v3 = await startBackend("v3");
      backends.push(v3);
      // A rollout is under way as the store goes: its backend comes up while nobody can write that down.
      v3.handler = (request, response) => {
        if (request.url !== "/_pulse/health") return false;
        response.writeHead(503).end();
        return true;
      };
      const target = { kind: "url", url: v3.url };
      await world.stack.api("POST", "/apps/steady/deployments", { id: "v3", target });
      await until(
        () => world.document("steady"),
        (document) => document?.deployments["v3"]?.url === v3.url,
      );

      const visitors = new Visitors(world, backends);
      const sockets = [await socketTo(world, "v1", "v1"), await socketTo(world, null, "v2")];
      await until(
        () => visitors.answered,
        (answered) => answered > 100,
      );
      await world.front.setMode(mode);
      const downAt = Date.now();
      v3.handler = () => false;
      countNonces([v3]);
      await until(
        () => Date.now() - downAt,
        (ms) => ms > 2_000,
      );
      const slowestCall = await expectToldEverywhere(world);
      // New sockets find their deployment, too.
      sockets.push(await socketTo(world, "v1", "v1"), await socketTo(world, null, "v2"));
      await world.stack.workerd.runCron().catch(() => undefined);
      await until(
        () => Date.now() - downAt,
        (ms) => ms > OUTAGE_MS,
        OUTAGE_MS + 10_000,
      );
      expect((await world.document("steady"))?.active).toBe("v2");
      const during = { answered: visitors.answered, slowestMs: visitors.slowestMs };

      await world.front.setMode("ok");
      const healedAt = Date.now();
      await until(
        () => visitors.lastUnpinned,
        (from) => from === "v3",
      );
      const rolloutMs = Date.now() - healedAt;
      const promoted = await world.stack.api("POST", "/apps/steady/deployments/v2/promote");
      expect(promoted.status, JSON.stringify(promoted.body)).toBe(200);
      const promotedAt = Date.now();
      await until(
        () => visitors.lastUnpinned,
        (from) => from === "v2",
      );
      const promoteMs = Date.now() - promotedAt;
      await visitors.stop();
      const faults = (await Promise.all(sockets.map((socket) => socket.finish()))).flat();
      console.log(
        `${mode}: ${during.answered} answers up to the end of the outage, slowest ${during.slowestMs} ms; ` +
          `slowest control call ${slowestCall} ms; rollout went on after ${rolloutMs} ms, promote seen after ${promoteMs} ms`,
      );
      expect(visitors.faults).toEqual([]);
      expect(faults).toEqual([]);
      expect(visitors.slowestMs).toBeLessThan(SLOWEST_VISIT_MS);
      expect([...visitors.nonces].filter(([, count]) => count !== 1)).toEqual([]);
      // A table's life; on a busy machine also the visitors' own time: one refreshes it, the next one sees it.
      expect(promoteMs).toBeLessThan(4 * TTL_MS + 2 * visitors.slowestMs);
      const document = await world.document("steady");
      expect(document && violations(document)).toEqual([]);
      const janitor = await world.stack.api("POST", "/janitor/run", {});
      expect(janitor.body).toMatchObject({ outcome: "completed", errors: [] });
    } finally {
      await Promise.all(backends.map((backend) => backend.close()));
      await world.stop();
    }
  },
  OUTAGE_MS + 120_000,
);

/** Asks as visitors do, all the time, and writes down whatever isn't the right answer. */
class Visitors {
  readonly faults: string[] = [];
  readonly nonces: Map<string, number>;
  readonly #world: UpstashStack;
  readonly #loops: Promise<void>[];
  #stopped = false;
  answered = 0;
  slowestMs = 0;
  lastUnpinned = "";

  constructor(world: UpstashStack, backends: Backend[]) {
    this.#world = world;
    this.nonces = countNonces(backends);
    this.#loops = ["v1", "v2", null, null].map((pin, index) => this.#visit(pin, index));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #visit(pin: string | null, index: number): Promise<void> {
    for (let number = 0; !this.#stopped; number++) {
      const path = `/?nonce=${index}-${number}${pin === null ? "" : `&pulse_deployment=${pin}`}`;
      const askedAt = Date.now();
      const answer = await this.#world.stack.request(HOST, path).catch((error: unknown) => String(error));
      const ms = Date.now() - askedAt;
      this.answered += 1;
      this.slowestMs = Math.max(this.slowestMs, ms);
      const seen = typeof answer === "string" ? answer : `${answer.status} ${answer.text}`;
      const right = seen.endsWith(` ${path}`) && (pin === null ? /^200 v[23] / : `200 ${pin} `);
      if (!right || seen.match(right)?.index !== 0) this.faults.push(`${path} → ${seen} after ${ms} ms`);
      else if (pin === null) this.lastUnpinned = seen.slice(4, 6);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

async function deploy(world: UpstashStack, id: string): Promise<Backend> {
  const backend = await startBackend(id);
  const target = { kind: "url", url: backend.url };
  const answer = await world.stack.api("POST", "/apps/steady/deployments", { id, target });
  expect(answer.status).toBe(202);
  await world.stack.control.until("steady", id, ["active"], 60_000);
  await until(
    () => world.stack.request(HOST, "/"),
    ({ text }) => text.startsWith(id),
  );
  return backend;
}

function socketTo(world: UpstashStack, pin: string | null, from: string): Promise<CountingSocket> {
  return CountingSocket.open({ port: world.stack.port, host: HOST, pin, from });
}

/** Every control call, and a request to a host that isn't cached, say what is wrong, soon. */
async function expectToldEverywhere(world: UpstashStack): Promise<number> {
  const target = { kind: "url", url: "http://127.0.0.1:1" };
  const calls: [method: string, path: string, body?: unknown][] = [
    ["GET", "/apps"],
    ["GET", "/apps/steady"],
    ["PUT", "/apps/other", { hosts: ["other.test"] }],
    ["DELETE", "/apps/steady"],
    ["GET", "/apps/steady/deployments"],
    ["POST", "/apps/steady/deployments", { id: "v4", target }],
    ["GET", "/apps/steady/deployments/v3"],
    ["DELETE", "/apps/steady/deployments/v1"],
    ["GET", "/apps/steady/deployments/v3/events"],
    ["POST", "/apps/steady/deployments/v1/promote"],
    ["POST", "/apps/steady/deployments/v1/redeploy"],
    ["POST", "/apps/steady/rollback"],
    ["PUT", "/apps/steady/canary", { id: "v3", weight: 10 }],
    ["POST", "/apps/steady/pause", {}],
    ["PUT", "/apps/steady/minimum", { id: "v2" }],
    ["POST", "/janitor/run", {}],
    ["GET", "/janitor/last"],
    ["GET", "/audit"],
  ];
  const durations = await Promise.all(
    calls.map(async ([method, path, body]) => {
      const askedAt = Date.now();
      const key: Record<string, string> =
        method === "GET" ? {} : { "idempotency-key": `outage-${method}-${path}` };
      const answer = await world.stack.api(method, path, body, key);
      const ms = Date.now() - askedAt;
      const what = `${method} ${path}: ${JSON.stringify(answer.body)}`;
      expect(answer.status, what).toBe(503);
      expect(answer.body["code"], what).toBe("store_unavailable");
      expect(Number(answer.headers.get("retry-after")), what).toBeGreaterThan(0);
      expect(answer.headers.get("content-type"), what).toBe("application/problem+json");
      expect(String(answer.body["detail"]).length, what).toBeGreaterThan(40);
      for (const secret of [world.front.token, CONTROL_TOKEN, INTERNAL_TOKEN])
        expect(what).not.toContain(secret);
      return ms;
    }),
  );
  const askedAt = Date.now();
  const unknown = await world.stack.request("never-seen.test", "/");
  durations.push(Date.now() - askedAt);
  expect(unknown.status).toBe(503);
  expect(unknown.headers["retry-after"]).toBeDefined();
  const slowest = Math.max(...durations);
  expect(slowest).toBeLessThan(SLOWEST_CALL_MS);
  return slowest;
}
