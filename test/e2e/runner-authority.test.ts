import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestStack, CONTROL_TOKEN, RUNNER_SECRET, type TestStack } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

/** What a runner's own credential, and the shared secret, are good for: every call that takes a Bearer token. */

let stack: TestStack;
let own = "";
const runners: Record<string, TunnelClient> = {};

beforeAll(async () => {
  stack = await startTestStack();
  for (const id of ["a", "b"]) {
    const { body } = await stack.api("POST", `/runners/${id}/credentials`);
    const secret = String(body["secret"]);
    if (id === "a") own = secret;
    runners[id] = await connectRunner(stack, id, {}, { secret });
  }
  runners["shared"] = await connectRunner(stack, "shared");
});
afterAll(() => stack.stop());

const API = "/_signalbox/api/v1";
const command = (runnerId: string) => ({ runnerId, command: { type: "write-file", projectId: "p" } });

/** Method, path, body. What names a runner names B, which is another's. */
const calls: [method: string, path: string, body?: unknown][] = [
  ["GET", "/_signalbox/socket?runnerId=b"],
  ["GET", "/_signalbox/socket?runnerId=shared"],
  ["GET", "/_signalbox/socket?runnerId=never-seen"],
  ["POST", "/_signalbox/commands", command("b")],
  ["POST", "/_signalbox/commands", command("a")],
  ["POST", "/_signalbox/commands", command("shared")],
  ["GET", "/_signalbox/status"],
  ["GET", "/_signalbox/metrics"],
  ["GET", `${API}/runners`],
  ["GET", `${API}/runners/b`],
  ["DELETE", `${API}/runners/b`],
  ["POST", `${API}/runners/b/commands`, { type: "read-file" }],
  ["POST", `${API}/runners/b/drain`, {}],
  ["POST", `${API}/runners/b/credentials`],
  ["DELETE", `${API}/runners/b/credentials`],
  ["PUT", `${API}/runners/b/sources`, "archive"],
  ["GET", `${API}/runners/b/sources/${"0".repeat(64)}`],
  ["POST", `${API}/placements`, { labels: {} }],
  ["GET", `${API}/apps`],
  ["PUT", `${API}/apps/x`, {}],
  ["POST", `${API}/apps/x/deployments`, {}],
  ["GET", `${API}/audit`],
  ["POST", `${API}/janitor/run`, {}],
];

async function call(token: string, method: string, path: string, body?: unknown): Promise<number> {
  const response = await fetch(`${stack.origin}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": path.endsWith("/sources") ? "application/gzip" : "application/json",
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  await response.body?.cancel();
  return response.status;
}

describe("the credential of runner a", () => {
  test.each(calls)("is refused by %s %s", async (method, path, body) => {
    expect(await call(own, method, path, body)).toBe(401);
  });

  test("opens its own socket", async () => {
    // 426: let in, and not a WebSocket.
    expect(await call(own, "GET", "/_signalbox/socket?runnerId=a")).toBe(426);
  });
});

describe("the shared secret", () => {
  const brokers = new Set(["/_signalbox/commands", "/_signalbox/status"]);
  const refused = calls.filter(([, path]) => !path.includes("/socket") && !brokers.has(path));
  test.each(refused)("is refused by %s %s", async (method, path, body) => {
    expect(await call(RUNNER_SECRET, method, path, body)).toBe(401);
  });

  test("commands runners that haven't enrolled, and no others", async () => {
    expect(await call(RUNNER_SECRET, "POST", "/_signalbox/commands", command("shared"))).toBe(200);
    expect(await call(RUNNER_SECRET, "POST", "/_signalbox/commands", command("b"))).toBe(403);
    expect(runners["b"]?.commands).toEqual([]);
    expect(await call(CONTROL_TOKEN, "POST", "/_signalbox/commands", command("b"))).toBe(200);
  });

  test("sees runners that haven't enrolled, and no others", async () => {
    const status = async (token: string): Promise<string[]> => {
      const headers = { authorization: `Bearer ${token}` };
      const response = await fetch(`${stack.origin}/_signalbox/status`, { headers });
      const { connections } = (await response.json()) as { connections: { runnerId: string }[] };
      return connections.map(({ runnerId }) => runnerId);
    };
    expect(await status(RUNNER_SECRET)).toEqual(["shared"]);
    expect(await status(CONTROL_TOKEN)).toEqual(["a", "b", "shared"]);
  });
});

test("what a runner says of another changes nothing there", async () => {
  const before = (await stack.api("GET", "/runners/b")).body;
  const timestamp = new Date().toISOString();
  for (const runnerId of ["b", "shared"]) {
    runners["a"]?.event({
      type: "runner-status",
      runnerId,
      timestamp,
      payload: { draining: true, runnerId },
    });
    runners["a"]?.event({ type: "error", runnerId, commandId: "c1", timestamp });
  }
  await expect.poll(async () => (await stack.api("GET", "/runners/a")).body["recentEvents"]).toHaveLength(2);
  const after = (await stack.api("GET", "/runners/b")).body;
  expect([after["state"], after["epoch"], after["recentEvents"]]).toEqual([
    before["state"],
    before["epoch"],
    before["recentEvents"],
  ]);
});
