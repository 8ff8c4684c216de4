import { createServer, type Server } from "node:net";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { isFree, type PortEvent, Ports } from "../../runner/ports.ts";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

async function listen(port: number, host: string): Promise<void> {
  const server = createServer();
  servers.push(server);
  await once(server.listen(port, host), "listening");
}

/** So many free ports in a row, outside of what other tests use. */
async function freeRange(count: number): Promise<{ first: number; last: number }> {
  for (let first = 26_000 + Math.floor(Math.random() * 3_000); ; first += count) {
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)));
    if (free.every(Boolean)) return { first, last: first + count - 1 };
  }
}

test("every owner gets a port of its own, keeps it until it releases it, and nobody else gets it", async () => {
  const range = await freeRange(5);
  const ports = new Ports({ range });
  const owners = ["a", "b", "c", "d", "e"];
  const given = await Promise.all(owners.map((owner) => ports.reserve(owner)));
  expect(new Set(given).size).toBe(5);
  expect(await ports.reserve("a")).toBe(given[0]);
  await expect(ports.reserve("f")).rejects.toMatchObject({ code: "no_free_port" });
  ports.release("c");
  expect(await ports.reserve("f")).toBe(given[2]);
});

test("a port that anybody listens on, on either loopback address, isn't given", async () => {
  const range = await freeRange(4);
  await listen(range.first, "127.0.0.1");
  await listen(range.first + 1, "::1");
  await listen(range.first + 2, "0.0.0.0");
  const ports = new Ports({ range });
  expect(await ports.reserve("a")).toBe(range.first + 3);
  await expect(ports.reserve("b")).rejects.toMatchObject({ code: "no_free_port" });
});

test("a preferred port that is taken is reported as a conflict and replaced", async () => {
  const range = await freeRange(4);
  const events: PortEvent[] = [];
  const ports = new Ports({ range, onEvent: (event) => events.push(event) });
  await listen(range.first, "127.0.0.1");
  const newPort = await ports.reserve("shop", { preferred: range.first });
  expect(newPort).not.toBe(range.first);
  expect(events).toMatchObject([
    { type: "port-conflict", owner: "shop", port: range.first },
    { type: "port-reallocated", owner: "shop", originalPort: range.first, newPort },
  ]);
  expect(await ports.reserve("other", { preferred: range.last })).toBeGreaterThanOrEqual(range.first);
});

test("a reserved port that a stranger took is given up for another", async () => {
  const range = await freeRange(3);
  const events: PortEvent[] = [];
  const ports = new Ports({ range, onEvent: (event) => events.push(event) });
  const lost = await ports.reserve("shop");
  await listen(lost, "127.0.0.1");
  const found = await ports.reallocate("shop");
  expect(found).not.toBe(lost);
  expect(ports.portOf("shop")).toBe(found);
  expect(events.map(({ type }) => type)).toEqual(["port-conflict", "port-reallocated"]);
});

test("a range of a framework's own is searched from its beginning", async () => {
  const own = await freeRange(3);
  const ports = new Ports();
  expect(await ports.reserve("vite", { range: own })).toBe(own.first);
  expect(await ports.reserve("vite-2", { range: own })).toBe(own.first + 1);
});
