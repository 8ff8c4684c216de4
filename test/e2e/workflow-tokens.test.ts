import { generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { Operator } from "../helpers/cli.ts";
import { startTestStack, type ApiAnswer, type TestStack } from "../helpers/stack.ts";
import { WorkflowIssuer, type Signed } from "../helpers/workflow-issuer.ts";

/** Signed tokens of GitHub's workflows, by an issuer of ours with real keys. */

let issuer: WorkflowIssuer;
let stack: TestStack;
let backend: Backend;

beforeAll(async () => {
  issuer = await WorkflowIssuer.start();
  const { origin } = issuer;
  const trust = [
    { issuer: origin, repository: "you/shop", branch: "main", scopes: ["deploy:shop"] },
    { issuer: origin, repository: "you/screens", branch: "*", scopes: ["read"] },
  ];
  stack = await startTestStack({ settings: { OIDC_TRUST: JSON.stringify(trust) } });
  backend = await startBackend("v1");
  await stack.api("PUT", "/apps/shop", { hosts: ["shop.test"] });
});
afterAll(async () => {
  await stack.stop();
  await backend.close();
  issuer.stop();
});
beforeEach(() => {
  issuer.isDown = false;
});

function as(token: string, method = "GET", path = "/apps/shop", body?: unknown): Promise<ApiAnswer> {
  return stack.api(method, path, body, { authorization: `Bearer ${token}` });
}

test("a workflow of the repository and branch rolls out its app, and the audit log names it", async () => {
  const target = { kind: "url", url: backend.url };
  const token = await issuer.sign();
  expect((await as(token, "POST", "/apps/shop/deployments", { id: "v1", target })).status).toBe(202);
  await stack.control.until("shop", "v1", ["active"], 60_000);
  const { entries } = (await stack.api("GET", "/audit?app=shop")).body as { entries: { actor: string }[] };
  expect(entries.map(({ actor }) => actor)).toContain("workflow you/shop refs/heads/main");
  expect((await as(token, "DELETE", "/apps/shop")).body["code"]).toBe("insufficient_scope");
});

test("of a repository that is trusted on any branch, a tag's workflow may do what the list says", async () => {
  const token = await issuer.sign({ repository: "you/screens", ref: "refs/tags/v1" });
  expect((await as(token)).status).toBe(200);
  expect((await as(token, "POST", "/apps/shop/rollback")).body["code"]).toBe("insufficient_scope");
});

test.each<[what: string, change: () => Promise<Signed>]>([
  ["another repository's", () => Promise.resolve({ repository: "them/shop" })],
  ["another branch's", () => Promise.resolve({ ref: "refs/heads/feature" })],
  ["a pull request's", () => Promise.resolve({ ref: "refs/pull/1/merge" })],
  ["a tag's that is named like the branch", () => Promise.resolve({ ref: "refs/tags/main" })],
  ["another audience's", () => Promise.resolve({ audience: "elsewhere" })],
  ["another issuer's", () => Promise.resolve({ issuer: "https://elsewhere.test" })],
  ["an expired", () => Promise.resolve({ expiresAt: Math.floor(Date.now() / 1_000) - 120 })],
  ["a forged", async () => ({ by: (await generateKeyPair("RS256")).privateKey })],
])("%s token is refused", async (_, change) => {
  const { status, body } = await as(await issuer.sign(await change()));
  expect([status, body["code"]]).toEqual([401, "unauthorized"]);
});

test("a token without a signature is refused", async () => {
  const [, payload] = (await issuer.sign()).split(".");
  const header = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
  for (const signature of ["", "AAAA"])
    expect((await as(`${header}.${payload}.${signature}`)).status).toBe(401);
});

test("a token that is signed with the public key as a secret is refused", async () => {
  const answer = (await (await fetch(`${issuer.origin}/.well-known/jwks`)).json()) as { keys: unknown[] };
  const secret = new TextEncoder().encode(JSON.stringify(answer.keys[0]));
  const token = await new SignJWT({ repository: "you/shop", ref: "refs/heads/main" })
    .setProtectedHeader({ alg: "HS256", kid: "one" })
    .setIssuer(issuer.origin)
    .setAudience("signalbox")
    .setIssuedAt()
    .setExpirationTime("5m")
    .sign(secret);
  expect((await as(token)).status).toBe(401);
});

test("keys are kept: a hundred calls read them once", async () => {
  const token = await issuer.sign();
  await as(token);
  const before = issuer.keyReads;
  await Promise.all(Array.from({ length: 100 }, () => as(token)));
  expect(issuer.keyReads).toBe(before);
});

test("while the issuer is away nobody is taken for a forger", async () => {
  issuer.isDown = true;
  await stack.restart();
  const { status, body } = await as(await issuer.sign());
  expect([status, body["code"]]).toEqual([503, "store_unavailable"]);
  issuer.isDown = false;
  await expect.poll(async () => (await as(await issuer.sign())).status).toBe(200);
});

test("signalbox in a workflow signs in by itself, to a server that the workflow names", async (context) => {
  const operator = await Operator.create(null);
  context.onTestFinished(() => operator.remove());
  issuer.handedOut = await issuer.sign();
  const done = await operator.run(["status", "--app", "shop"], {
    env: { ...issuer.environment, SIGNALBOX_URL: stack.origin },
  });
  expect([done.code, done.stderr]).toEqual([0, ""]);
  expect(issuer.askedFor).toEqual(["signalbox", "Bearer of-the-job"]);
});
