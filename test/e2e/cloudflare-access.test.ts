import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  CONTROL_TOKEN,
  OPERATOR_NAME,
  startTestStack,
  type PublicAnswer,
  type TestStack,
} from "../helpers/stack.ts";

/** Sign-in through Cloudflare Access, by a team of ours with real keys. */

const AUDIENCE = "a".repeat(64);

let team: Server;
let issuer: string;
let stack: TestStack;
let key: CryptoKey;
let keyReads = 0;

beforeAll(async () => {
  const pair = await generateKeyPair("RS256");
  key = pair.privateKey;
  const jwk = { ...(await exportJWK(pair.publicKey)), kid: "one", alg: "RS256", use: "sig" };
  team = createServer((request, response) => {
    if (request.url === "/cdn-cgi/access/certs") keyReads += 1;
    response.end(JSON.stringify({ keys: [jwk] }));
  });
  await once(team.listen(0, "127.0.0.1"), "listening");
  issuer = `http://127.0.0.1:${(team.address() as AddressInfo).port}`;
  stack = await startTestStack({
    settings: { ACCESS_TEAM_DOMAIN: issuer, ACCESS_AUD: AUDIENCE, OPERATOR_HOST: OPERATOR_NAME },
  });
});
afterAll(async () => {
  await stack?.stop();
  team?.close();
});

interface Asserted {
  claims?: Record<string, unknown>;
  audience?: string;
  issuer?: string;
  expiresAt?: number;
  by?: CryptoKey;
}

function assertion({ claims = { email: "ann@example.com" }, ...more }: Asserted = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1_000);
  return new SignJWT(claims)
    .setProtectedHeader({ alg: "RS256", kid: "one" })
    .setIssuer(more.issuer ?? issuer)
    .setAudience([more.audience ?? AUDIENCE])
    .setIssuedAt(now - 10)
    .setExpirationTime(more.expiresAt ?? now + 300)
    .sign(more.by ?? key);
}

async function call(
  token: string,
  {
    method = "GET",
    path = "/apps",
    host = `${OPERATOR_NAME}:${stack.port}`,
    headers = {},
    body = null as Record<string, unknown> | null,
  } = {},
): Promise<PublicAnswer> {
  return stack.request(host, `/_signalbox/api/v1${path}`, {
    method: method as "GET",
    headers: {
      "cf-access-jwt-assertion": token,
      ...(body === null ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === null ? {} : { body: JSON.stringify(body) }),
  });
}

test("whom Access lets in may call the control API, and the audit log has the email", async () => {
  const made = await call(await assertion(), { method: "PUT", path: "/apps/shop", body: {} });
  expect([made.status, made.text]).toEqual([201, expect.stringContaining("shop")]);
  const { entries } = (await stack.api("GET", "/audit?app=shop")).body as { entries: { actor: string }[] };
  expect(entries.map(({ actor }) => actor)).toEqual(["person ann@example.com"]);
});

test("a service token is named by its client id", async () => {
  const token = await assertion({ claims: { common_name: "abc.access", sub: "" } });
  expect((await call(token, { method: "PUT", path: "/apps/blog", body: {} })).status).toBe(201);
  const { entries } = (await stack.api("GET", "/audit?app=blog")).body as { entries: { actor: string }[] };
  expect(entries.map(({ actor }) => actor)).toEqual(["person abc.access"]);
});

test.each<[what: string, change: () => Promise<Asserted>]>([
  ["a forged assertion", async () => ({ by: (await generateKeyPair("RS256")).privateKey })],
  ["an expired one", () => Promise.resolve({ expiresAt: Math.floor(Date.now() / 1_000) - 120 })],
  ["one for another application", () => Promise.resolve({ audience: "b".repeat(64) })],
  ["another team's", () => Promise.resolve({ issuer: "https://them.cloudflareaccess.com" })],
  ["one of nobody", () => Promise.resolve({ claims: { sub: "1" } })],
  ["one whose email could forge a line", () => Promise.resolve({ claims: { email: "ann\nroot@x" } })],
])("%s is refused", async (_, change) => {
  const { status, text } = await call(await assertion(await change()));
  expect([status, JSON.parse(text)]).toEqual([401, expect.objectContaining({ code: "unauthorized" })]);
});

test("what isn't a token is refused", async () => {
  for (const text of ["none", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.AAAA"])
    expect((await call(text)).status).toBe(401);
});

test("an assertion counts on no other host, since Access stands before the operator's only", async () => {
  const token = await assertion();
  for (const host of [`127.0.0.1:${stack.port}`, "shop.localhost"])
    expect((await call(token, { host })).status).toBe(401);
});

test("a page of another site can't call by the operator's assertion", async () => {
  const token = await assertion();
  const origin = `http://${OPERATOR_NAME}:${stack.port}`;
  const from = async (headers: Record<string, string>): Promise<number> =>
    (await call(token, { headers })).status;
  expect(await from({ origin: "https://evil.example" })).toBe(403);
  expect(await from({ origin: "null" })).toBe(403);
  expect(await from({ "sec-fetch-site": "cross-site" })).toBe(403);
  expect(await from({ "sec-fetch-site": "same-site" })).toBe(403);
  expect(await from({ origin, "sec-fetch-site": "same-origin" })).toBe(200);
});

test("beside a Bearer token an assertion means nothing", async () => {
  const token = await assertion();
  const as = (bearer: string) => call(token, { headers: { authorization: `Bearer ${bearer}` } });
  expect((await as("wrong-token-of-nobody")).status).toBe(401);
  expect((await as(CONTROL_TOKEN)).status).toBe(200);
});

test("the dashboard signs in whom Access has let in, under their name, and nobody else", async () => {
  const host = `${OPERATOR_NAME}:${stack.port}`;
  const page = await stack.request(host, "/_signalbox/");
  expect(page.text).toContain("Sign in through Cloudflare Access");
  const signIn = (headers: Record<string, string>): Promise<PublicAnswer> =>
    stack.request(host, "/_signalbox/sign-in", {
      method: "POST",
      headers: {
        origin: `http://${host}`,
        "content-type": "application/x-www-form-urlencoded",
        ...headers,
      },
      body: "through=access",
    });
  expect((await signIn({})).status).toBe(401);
  const forged = await assertion({ by: (await generateKeyPair("RS256")).privateKey });
  expect((await signIn({ "cf-access-jwt-assertion": forged })).status).toBe(401);
  const token = await assertion({ claims: { email: "bob@example.com" } });
  const elsewhere = { "cf-access-jwt-assertion": token, origin: "https://evil.example" };
  expect((await signIn(elsewhere)).status).toBe(403);

  const started = await signIn({ "cf-access-jwt-assertion": token });
  const key = /name="signalbox-sign-in-key" content="([^"]+)"/.exec(started.text)?.[1] ?? "";
  const cookie = String(started.headers["set-cookie"]).split(";")[0] ?? "";
  const put = await stack.request(host, "/_signalbox/api/v1/apps/by-bob", {
    method: "PUT",
    headers: {
      cookie,
      "x-signalbox-key": key,
      origin: `http://${host}`,
      "content-type": "application/json",
    },
    body: "{}",
  });
  expect(put.status).toBe(201);
  const { entries } = (await stack.api("GET", "/audit?app=by-bob")).body as { entries: { actor: string }[] };
  expect(entries.map(({ actor }) => actor)).toEqual(["person bob@example.com"]);
});

test("the team's keys are read once for many calls", async () => {
  const token = await assertion();
  await call(token);
  const before = keyReads;
  await Promise.all(Array.from({ length: 50 }, () => call(token)));
  expect(keyReads).toBe(before);
});

test("ACCESS_SCOPES limits what all of them may do", async () => {
  await stack.restart({ ACCESS_SCOPES: "read" });
  const token = await assertion();
  expect((await call(token)).status).toBe(200);
  const changed = await call(token, { method: "PUT", path: "/apps/other", body: {} });
  expect([changed.status, JSON.parse(changed.text)]).toEqual([
    403,
    expect.objectContaining({ code: "insufficient_scope" }),
  ]);
});

test.each([
  [{ ACCESS_AUD: "" }, "ACCESS_AUD"],
  [{ ACCESS_TEAM_DOMAIN: "not a domain" }, "ACCESS_TEAM_DOMAIN must be"],
  [{ ACCESS_SCOPES: "root" }, "ACCESS_SCOPES must be"],
])("the setting %j is refused by name", async (settings, message) => {
  await stack.restart({ ACCESS_TEAM_DOMAIN: issuer, ACCESS_AUD: AUDIENCE, ...settings });
  const { status, body } = await stack.api("GET", "/apps");
  expect([status, body["detail"]]).toEqual([500, expect.stringContaining(message)]);
});
