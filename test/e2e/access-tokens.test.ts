import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { Operator } from "../helpers/cli.ts";
import { CONTROL_TOKEN, startTestStack, type ApiAnswer, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let backend: Backend;

beforeAll(async () => {
  stack = await startTestStack();
  backend = await startBackend("v1");
  for (const app of ["shop", "other"]) await stack.api("PUT", `/apps/${app}`, { hosts: [`${app}.test`] });
});
afterAll(async () => {
  await stack.stop();
  await backend.close();
});

interface Created {
  id: string;
  token: string;
}

async function create(name: string, scopes: string[], more = {}, at = stack): Promise<Created> {
  const { status, body } = await at.api("POST", "/tokens", { name, scopes, ...more });
  expect([status, body]).toEqual([201, expect.anything()]);
  return body as unknown as Created;
}

function as(token: string, method: string, path: string, body?: unknown, at = stack): Promise<ApiAnswer> {
  return at.api(method, path, body, { authorization: `Bearer ${token}` });
}

/** What of the API's description a test needs. */
const description = z.object({ paths: z.record(z.string(), z.record(z.string(), z.unknown())) });

/** Every call of the control API, with names that stand for nothing. */
async function everyCall(): Promise<[method: string, path: string][]> {
  const answer = await fetch(`${stack.origin}/_signalbox/api/v1/openapi.json`);
  const { paths } = description.parse(await answer.json());
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method): [string, string] => [method.toUpperCase(), path]),
  );
}

const OF_A_DEPLOY = [
  "GET /apps/{app}",
  "GET /apps/{app}/deployments",
  "POST /apps/{app}/deployments",
  "GET /apps/{app}/deployments/{id}",
  "POST /apps/{app}/deployments/{id}/promote",
  "POST /apps/{app}/deployments/{id}/redeploy",
  "POST /apps/{app}/rollback",
  "GET /apps/{app}/deployments/{id}/events",
  "PUT /apps/{app}/deployments/{id}/source",
  "GET /apps/{app}/deployments/{id}/logs",
  "PUT /apps/{app}/canary",
  "DELETE /apps/{app}/canary",
  "PUT /runners/{id}/sources",
  "POST /placements",
];

async function isAllowed(token: string, method: string, path: string): Promise<boolean> {
  if (path === "/events") {
    // What it answers doesn't end.
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`${stack.origin}/_signalbox/api/v1${path}`, { headers });
    await answer.body?.cancel();
    return answer.ok;
  }
  const { body } = await as(token, method, path, method === "GET" ? undefined : { odd: true });
  return body["code"] !== "insufficient_scope";
}

describe("of all calls of the API", () => {
  /** Those that aren't refused for the token's scopes. */
  async function allowed(token: string, app: string): Promise<string[]> {
    const open: string[] = [];
    for (const [method, path] of await everyCall()) {
      const filled = path.replace("{app}", app).replace(/\{\w+\}/g, "nothing");
      if (await isAllowed(token, method, filled)) open.push(`${method} ${path}`);
    }
    return open;
  }

  test("deploy:shop has those that roll out shop", async () => {
    const { token } = await create("github", ["deploy:shop"]);
    expect((await allowed(token, "shop")).sort()).toEqual(OF_A_DEPLOY.toSorted());
  });

  test("deploy:shop has none of another app, nor of one whose name begins like it", async () => {
    const { token } = await create("gitlab", ["deploy:shop"]);
    const rest = ["POST /placements", "PUT /runners/{id}/sources"];
    expect((await allowed(token, "other")).sort()).toEqual(rest);
    expect((await allowed(token, "shop-2")).sort()).toEqual(rest);
  });

  test("read has every GET but that of tokens", async () => {
    const { token } = await create("screen", ["read"]);
    const all = await everyCall();
    const gets = all.filter(([method, path]) => method === "GET" && path !== "/tokens");
    expect((await allowed(token, "shop")).sort()).toEqual(gets.map((one) => one.join(" ")).sort());
  });

  test("operate lacks tokens and credentials, admin nothing", async () => {
    const operate = await create("on call", ["operate"]);
    const admin = await create("chief", ["admin"]);
    const all = (await everyCall()).map((one) => one.join(" "));
    const lacking = all.filter((one) => /\/tokens|\/credentials$/.test(one));
    expect(lacking).toHaveLength(5);
    // With `odd` in it no call is carried out.
    expect(await allowed(admin.token, "shop")).toEqual(all);
    expect(await allowed(operate.token, "shop")).toEqual(all.filter((one) => !lacking.includes(one)));
  });
});

test("an encoded path doesn't get past a scope", async () => {
  const { token } = await create("encoder", ["operate", "deploy:shop"]);
  for (const path of ["/%74okens", "/runners/r%2fcredentials", "//tokens", "/apps/../tokens", "/tokens%2f"]) {
    const { status } = await as(token, "GET", path);
    expect([path, status >= 400]).toEqual([path, true]);
  }
  const deploys = await create("deployer", ["deploy:shop"]);
  for (const path of ["/apps/shop/%2e%2e/other", "/apps/shop%2f..%2fother", "/apps/%6fther"])
    expect([path, (await as(deploys.token, "GET", path)).body["code"]]).toEqual([path, "insufficient_scope"]);
});

test("a deploy:APP token rolls out its app, and the audit log names it", async () => {
  await stack.api("PUT", "/apps/trains", { hosts: ["trains.test"] });
  const { token } = await create("release train", ["deploy:trains"]);
  const target = { kind: "url", url: backend.url };
  expect((await as(token, "POST", "/apps/trains/deployments", { id: "v1", target })).status).toBe(202);
  await stack.control.until("trains", "v1", ["active"], 60_000);
  const { entries } = (await stack.api("GET", "/audit?app=trains")).body as {
    entries: { actor: string; action: string }[];
  };
  expect(entries).toContainEqual(
    expect.objectContaining({ actor: "token release train", action: "deployment.create" }),
  );
});

test("a token is shown once, and only its SHA-256 is kept", async () => {
  const key = { "idempotency-key": "one-token" };
  const body = { name: "once", scopes: ["read"] };
  const first = await stack.api("POST", "/tokens", body, key);
  expect(first.body["token"]).toMatch(/^sbt_[0-9a-f]{16}_[0-9a-f]{64}$/);
  const again = await stack.api("POST", "/tokens", body, key);
  expect([again.status, again.body["code"]]).toEqual([409, "secret_shown_once"]);
  const secret = String(first.body["token"]).slice(-64);
  for (const path of ["/tokens", "/audit"])
    expect(JSON.stringify((await stack.api("GET", path)).body)).not.toContain(secret);
  expect(await filesWith(stack.stateDirectory, secret)).toEqual([]);
  // The proof that the search finds what is there.
  expect(await filesWith(stack.stateDirectory, String(first.body["id"]))).not.toEqual([]);
});

async function filesWith(directory: string, text: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)("grep", ["-rlaF", text, directory]).catch(
    (error: { code: number; stdout: string }) => {
      if (error.code === 1) return error;
      throw error;
    },
  );
  return stdout.split("\n").filter((line) => line !== "");
}

test("a revoked and an altered token are refused", async () => {
  const { id, token } = await create("leaver", ["read"]);
  expect((await as(token, "GET", "/apps")).status).toBe(200);
  const altered = token.slice(0, -1) + (token.endsWith("0") ? "1" : "0");
  expect((await as(altered, "GET", "/apps")).status).toBe(401);
  expect((await stack.api("DELETE", `/tokens/${id}`)).status).toBe(200);
  expect((await as(token, "GET", "/apps")).body["code"]).toBe("unauthorized");
  expect((await stack.api("DELETE", `/tokens/${id}`)).body["code"]).toBe("unknown_token");
});

test.each<[what: string, body: Record<string, unknown>, field: string]>([
  ["an unknown scope", { scopes: ["root"] }, "scopes.0"],
  ["a scope for no app's name", { scopes: ["deploy:Shop!"] }, "scopes.0"],
  ["no scope", { scopes: [] }, "scopes"],
  ["a name with a line break", { name: "a\nb" }, "name"],
  ["a year and a half", { expiresInSeconds: 550 * 86_400 }, "expiresInSeconds"],
])("%s is refused by its field", async (_, change, field) => {
  const { status, body } = await stack.api("POST", "/tokens", { name: "x", scopes: ["read"], ...change });
  expect([status, body["errors"]]).toEqual([400, [expect.objectContaining({ field })]]);
});

test("two tokens don't have one name", async () => {
  await create("twin", ["read"]);
  const { status, body } = await stack.api("POST", "/tokens", { name: "twin", scopes: ["read"] });
  expect([status, body["code"]]).toEqual([409, "token_exists"]);
});

test("the command line creates, uses, lists and revokes one", async (context) => {
  const home = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  context.onTestFinished(() => home.remove());
  const made = await home.run(["tokens", "create", "laptop", "--scope", "read", "--expires", "12h"]);
  const token = made.stdout.trim();
  expect(token).toMatch(/^sbt_/);
  const holder = { env: { SIGNALBOX_URL: stack.origin, SIGNALBOX_TOKEN: token } };
  expect((await home.run(["status"], holder)).code).toBe(0);
  const refused = await home.run(["rollback", "--app", "trains"], holder);
  expect([refused.code, refused.stderr]).toEqual([
    4,
    expect.stringContaining("This access token is for read"),
  ]);
  const listed = await home.run(["tokens", "--json"]);
  expect(JSON.parse(listed.stdout)).toMatchObject({
    tokens: expect.arrayContaining([
      expect.objectContaining({ name: "laptop", lastUsedAt: expect.any(String) }),
    ]),
  });
  expect((await home.run(["tokens", "revoke", "laptop", "--yes"])).code).toBe(0);
  const gone = await home.run(["status"], holder);
  expect([gone.code, gone.stderr]).toEqual([4, expect.stringContaining("was revoked")]);
});

describe("on Upstash", () => {
  let world: UpstashStack;
  beforeAll(async () => {
    world = await onUpstash();
  });
  afterAll(() => world.stop());

  test("a token works until it is revoked, and no longer though its use was just written", async () => {
    const { id, token } = await create("cloud", ["read"], {}, world.stack);
    const uses = await Promise.all(
      Array.from({ length: 5 }, () => as(token, "GET", "/apps", undefined, world.stack)),
    );
    expect(uses.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    await world.stack.api("DELETE", `/tokens/${id}`);
    expect((await as(token, "GET", "/apps", undefined, world.stack)).status).toBe(401);
    expect((await world.stack.api("GET", "/tokens")).body).toEqual({ tokens: [] });
  });

  test("an expired token is refused", async () => {
    const { id, token } = await create("late", ["read"], {}, world.stack);
    const record = JSON.parse((await world.store.readRecord("token", id)) ?? "") as Record<string, unknown>;
    const expired = JSON.stringify({ ...record, expiresAt: Date.now() - 1 });
    await world.store.writeRecord("token", id, expired, Date.now());
    expect((await as(token, "GET", "/apps", undefined, world.stack)).status).toBe(401);
  });

  test("while the store is away a token isn't taken for a wrong one", async () => {
    const { token } = await create("cloudy", ["read"], {}, world.stack);
    await world.front.close();
    const { status, body } = await as(token, "GET", "/apps", undefined, world.stack);
    expect([status, body["code"]]).toEqual([503, "store_unavailable"]);
  });
});
