import { afterEach, describe, expect, test } from "vitest";
import { CallBudget } from "../../functions/railway/budget.ts";
import { RailwayClient } from "../../functions/railway/client.ts";
import { RailwayError } from "../../functions/railway/error.ts";
import { me, serviceCreate } from "../../functions/railway/operations.ts";
import { uploadSource } from "../../functions/railway/upload.ts";
import { HANDLED, startGraphqlServer, type Script, type ScriptedServer } from "../helpers/graphql-server.ts";

let server: ScriptedServer;
afterEach(() => server.stop());

const person = { me: { id: "u1", email: "ada@example.com", workspaces: [] } };
const input = { projectId: "p", environmentId: "e", name: "shop-v1", variables: { SECRET: "s3cret-value" } };

async function clientOf(
  script: Script,
  options: Partial<ConstructorParameters<typeof RailwayClient>[0]> = {},
): Promise<RailwayClient> {
  server = await startGraphqlServer(script);
  return new RailwayClient({
    token: { kind: "account", value: "account-token" },
    apiUrl: server.url,
    timeoutMs: 5_000,
    ...options,
  });
}

async function failureOf(work: Promise<unknown>): Promise<RailwayError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RailwayError)) throw new Error(`No RailwayError but ${String(error)}`);
  expect(error.message).not.toContain("account-token");
  expect(error.message).not.toContain("s3cret-value");
  return error;
}

function status(code: number, headers: Record<string, string> = {}, body = "oops"): Script {
  return (_call, response) => {
    response.writeHead(code, headers).end(body);
    return HANDLED;
  };
}

describe("Railway's client", () => {
  test("sends an account's token as a bearer and a project's in its own header", async () => {
    const client = await clientOf(() => person);
    await client.call(me, {});
    expect(server.calls[0]?.headers).toMatchObject({ authorization: "Bearer account-token" });
    const project = new RailwayClient({ token: { kind: "project", value: "pt" }, apiUrl: server.url });
    await project.call(me, {});
    expect(server.calls[1]?.headers).toMatchObject({ "project-access-token": "pt" });
    expect(server.calls[1]?.headers.authorization).toBeUndefined();
  });

  test("repeats a query whose answer is lost, and counts each call", async () => {
    let failures = 2;
    const client = await clientOf((call, response) => {
      if (failures-- <= 0) return person;
      if (failures === 1) response.destroy();
      else response.writeHead(502).end();
      return HANDLED;
    });
    expect(await client.call(me, {})).toEqual(person);
    expect(client.calls).toBe(3);
  });

  test("never repeats a change: it says that the change may have been made", async () => {
    const client = await clientOf((_call, response) => {
      response.destroy();
      return HANDLED;
    });
    const error = await failureOf(client.call(serviceCreate, { input }, { about: "service shop-v1" }));
    expect(error).toMatchObject({
      kind: "unreachable",
      retryable: true,
      uncertain: true,
      call: "serviceCreate",
    });
    expect(error.message).toContain("serviceCreate (service shop-v1)");
    expect(server.calls).toHaveLength(1);
  });

  test("gives up a call that isn't answered in time", async () => {
    const client = await clientOf(() => HANDLED, { timeoutMs: 50 });
    const error = await failureOf(client.call(serviceCreate, { input }));
    expect(error).toMatchObject({ kind: "unreachable", uncertain: true });
    expect(error.message).toContain("wasn't answered within 0.05 s");
  });

  test.for([
    ["Not Authorized", "unauthorized", false, false],
    ["Project not found", "not_found", false, false],
    ["Problem processing request", "server", true, true],
    ["Name is already taken", "refused", false, false],
  ] as const)("tells what GraphQL's error %j stands for", async ([message, kind, retryable, uncertain]) => {
    const client = await clientOf(() => new Error(message));
    const error = await failureOf(client.call(serviceCreate, { input }));
    expect(error).toMatchObject({ kind, retryable, uncertain });
    expect(error.message).toContain(message);
  });

  test.for([
    [401, "unauthorized", false, false],
    [403, "unauthorized", false, false],
    [400, "malformed", true, true],
    [500, "server", true, true],
    [503, "server", true, true],
  ] as const)("tells what status %i stands for", async ([code, kind, retryable, uncertain]) => {
    const client = await clientOf(status(code));
    expect(await failureOf(client.call(serviceCreate, { input }))).toMatchObject({
      kind,
      retryable,
      uncertain,
    });
  });

  test("says which field of an answer isn't as promised", async () => {
    const client = await clientOf(() => ({ serviceCreate: { id: 7 } }));
    const error = await failureOf(client.call(serviceCreate, { input }));
    expect(error).toMatchObject({ kind: "malformed", retryable: false, uncertain: true });
    expect(error.message).toContain("serviceCreate.id");
  });

  test("reads a whole answer, not one without end", async () => {
    const client = await clientOf(status(200, {}, "x".repeat(9 * 1024 * 1024)));
    expect(await failureOf(client.call(me, {}))).toMatchObject({ kind: "malformed", retryable: false });
  });

  test("comes again when Railway says so, if that is soon", async () => {
    let refusals = 1;
    const client = await clientOf((call, response) =>
      refusals-- > 0 ? status(429, { "retry-after": "1" })(call, response) : person,
    );
    const start = Date.now();
    expect(await client.call(me, {})).toEqual(person);
    expect(Date.now() - start).toBeGreaterThan(900);
  });

  test("says when to come again if that is later, and asks nothing until then", async () => {
    const client = await clientOf(status(429, { "retry-after": "30" }));
    const first = await failureOf(client.call(me, {}));
    expect(first).toMatchObject({ kind: "rate_limited", retryable: true, uncertain: false });
    expect((first.retryAtMs ?? 0) - Date.now()).toBeGreaterThan(25_000);
    const second = await failureOf(client.call(serviceCreate, { input }));
    expect(second).toMatchObject({ kind: "rate_limited", uncertain: false, retryAtMs: first.retryAtMs });
    expect(server.calls).toHaveLength(1);
  });

  test("keeps a budget a minute, which clients of one token share", async () => {
    const budget = new CallBudget(2);
    const client = await clientOf(() => person, { budget });
    const other = new RailwayClient({ token: client.token, apiUrl: server.url, budget });
    await client.call(me, {});
    await other.call(me, {});
    const error = await failureOf(client.call(me, {}));
    expect(error).toMatchObject({ kind: "rate_limited", retryable: true });
    expect(server.calls).toHaveLength(2);
  });
});

describe("the budget of calls", () => {
  const headers = (values: Record<string, string>): Headers => new Headers(values);
  const now = Date.parse("2026-01-01T12:00:00Z");

  test("spreads what is left of Railway's own allowance over the rest of its window", () => {
    const budget = new CallBudget(1_000);
    const reset = String((now + 600_000) / 1_000);
    budget.observe(
      200,
      headers({ "x-ratelimit-limit": "1000", "x-ratelimit-remaining": "500", "x-ratelimit-reset": reset }),
      now,
    );
    expect(budget.readyAt(now)).toBeLessThanOrEqual(now);
    budget.observe(
      200,
      headers({ "x-ratelimit-limit": "1000", "x-ratelimit-remaining": "59", "x-ratelimit-reset": reset }),
      now,
    );
    expect(budget.readyAt(now)).toBe(now + 10_000);
    budget.observe(
      200,
      headers({ "x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset }),
      now,
    );
    expect(budget.readyAt(now)).toBe(now + 600_000);
  });

  test.for([
    ["20", 20_000],
    [new Date(now + 45_000).toUTCString(), 45_000],
    ["nonsense", 10_000],
    ["999999", 3_600_000],
  ] as const)("understands Retry-After %j", ([value, waitMs]) => {
    const budget = new CallBudget(1_000);
    budget.observe(429, headers({ "retry-after": value }), now);
    expect(budget.readyAt(now)).toBe(now + waitMs);
  });

  test("is free again a minute after", () => {
    const budget = new CallBudget(2);
    budget.spend(now);
    budget.spend(now + 1_000);
    expect(budget.readyAt(now + 2_000)).toBe(now + 60_000);
    expect(budget.readyAt(now + 60_000)).toBeLessThanOrEqual(now + 60_000);
  });
});

test("an upload that is refused says why, and one without an answer that it may have arrived", async () => {
  const client = await clientOf(() => person);
  const place = { project: "p", environment: "e", service: "s" };
  // The scripted server speaks GraphQL only and cuts off what isn't.
  server.script = (_call, response) => {
    response.destroy();
    return HANDLED;
  };
  const source = (): ReadableStream<Uint8Array> => new Blob(['{"operationName":"up"}']).stream();
  expect(await failureOf(uploadSource(client, place, source()))).toMatchObject({
    kind: "unreachable",
    uncertain: true,
  });
  server.script = status(422, {}, '{"message":"The archive is empty"}');
  const error = await failureOf(uploadSource(client, place, source()));
  expect(error).toMatchObject({ kind: "refused", retryable: false, uncertain: false });
  expect(error.message).toContain("The archive is empty");
  server.script = status(200, {}, '{"deploymentId":"d1"}');
  expect(await uploadSource(client, place, source())).toEqual({ deploymentId: "d1" });
});
