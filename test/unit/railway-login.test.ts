import { createServer, type Server } from "node:http";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Failure } from "../../scripts/cli/failure.ts";
import { loginPath, railwayLogin } from "../../scripts/cli/railway/login.ts";
import { findToken } from "../../scripts/cli/railway/token.ts";

/** Railway's token endpoint: each refresh token is good once. */
class TokenEndpoint {
  readonly requests: URLSearchParams[] = [];
  readonly good = new Map<string, { access_token: string; refresh_token?: string; expires_in: number }>();
  /** Statuses of the next answers; what follows is answered by what is good. */
  stumbles: number[] = [];
  /** Done while a request is under way. */
  meanwhile: () => Promise<void> = () => Promise.resolve();
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      void (async () => {
        let body = "";
        for await (const chunk of request) body += String(chunk);
        const form = new URLSearchParams(body);
        this.requests.push(form);
        await this.meanwhile();
        const stumble = this.stumbles.shift();
        const token = form.get("refresh_token") ?? "";
        const answer = this.good.get(token);
        response.setHeader("content-type", "application/json");
        if (request.url !== "/oauth/token" || stumble !== undefined) {
          response.writeHead(stumble ?? 404).end("{}");
        } else if (answer === undefined) {
          response.writeHead(400).end(JSON.stringify({ error: "invalid_grant" }));
        } else {
          this.good.delete(token);
          response.end(JSON.stringify({ ...answer, token_type: "Bearer" }));
        }
      })();
    });
  }

  async start(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

let endpoint: TokenEndpoint;
let env: Record<string, string>;

beforeEach(async () => {
  endpoint = new TokenEndpoint();
  env = { HOME: await mkdtemp(join(tmpdir(), "signalbox-login-")), RAILWAY_API_URL: await endpoint.start() };
});

afterEach(async () => {
  await endpoint.stop();
  await rm(env["HOME"] ?? "", { recursive: true });
});

async function save(user: unknown, more: Record<string, unknown> = { projects: {} }): Promise<string> {
  const file = loginPath(env);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, JSON.stringify({ ...more, user }), { mode: 0o644 });
  return file;
}

const now = (): number => Math.floor(Date.now() / 1000);

async function refusal(): Promise<Failure> {
  const error: unknown = await railwayLogin(env).catch((thrown: unknown) => thrown);
  if (!(error instanceof Failure)) throw new Error("it wasn't refused");
  return error;
}

test("the older login is a token that doesn't expire", async () => {
  const file = await save({ token: "old-token" });
  expect(await railwayLogin(env)).toEqual({ token: "old-token", file });
  expect(await findToken(undefined, env)).toEqual({
    value: "old-token",
    kind: "account",
    from: "the Railway CLI's login",
  });
});

test("an access token comes before the older one and is used as long as it lasts", async () => {
  await save({ token: "old", accessToken: "fresh", refreshToken: "again", tokenExpiresAt: now() + 3_600 });
  expect((await railwayLogin(env))?.token).toBe("fresh");
  expect(endpoint.requests).toEqual([]);
});

test("an expired one is renewed as the Railway CLI does it, and saved whole, readable by its owner only", async () => {
  endpoint.good.set("again", { access_token: "newer", refresh_token: "and-again", expires_in: 3_600 });
  const file = await save(
    { id: "u1", token: "old", accessToken: "stale", refreshToken: "again", tokenExpiresAt: now() + 30 },
    { projects: { "/here": { project: "p" } }, later: true },
  );
  expect((await railwayLogin(env))?.token).toBe("newer");
  expect(Object.fromEntries(endpoint.requests[0] ?? [])).toEqual({
    grant_type: "refresh_token",
    refresh_token: "again",
    client_id: "rlwy_oaci_onEklvmksh1hRUiCo7E2zX12",
  });
  const saved = JSON.parse(await readFile(file, "utf8")) as { user: { tokenExpiresAt: number } };
  expect(saved).toMatchObject({
    projects: { "/here": { project: "p" } },
    later: true,
    user: { id: "u1", accessToken: "newer", refreshToken: "and-again" },
  });
  expect(saved.user).not.toHaveProperty("token");
  expect(saved.user.tokenExpiresAt).toBeGreaterThan(now() + 3_500);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  // The next one needn't ask.
  expect((await railwayLogin(env))?.token).toBe("newer");
  expect(endpoint.requests).toHaveLength(1);
});

test("an answer without a new refresh token keeps the old one", async () => {
  endpoint.good.set("again", { access_token: "newer", expires_in: 3_600 });
  const file = await save({ accessToken: "stale", refreshToken: "again", tokenExpiresAt: 1 });
  await railwayLogin(env);
  expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ user: { refreshToken: "again" } });
});

test("an endpoint that stumbles is asked again; one that keeps stumbling leaves the login as it is", async () => {
  endpoint.good.set("again", { access_token: "newer", expires_in: 3_600 });
  endpoint.stumbles = [500, 503];
  const file = await save({ accessToken: "stale", refreshToken: "again", tokenExpiresAt: 1 });
  expect((await railwayLogin(env))?.token).toBe("newer");

  await save({ accessToken: "stale", refreshToken: "again", tokenExpiresAt: 1 });
  const before = await readFile(file, "utf8");
  endpoint.stumbles = [500, 500, 500];
  expect(await refusal()).toMatchObject({ code: "railway_unreachable", exitCode: 5 });
  expect(await readFile(file, "utf8")).toBe(before);
});

test("a login that is over asks for a new one and shows no token", async () => {
  await save({ accessToken: "stale-token", refreshToken: "revoked-token", tokenExpiresAt: 1 });
  const over = await refusal();
  expect(over).toMatchObject({ code: "login_expired", exitCode: 4 });
  expect(over.message).toContain("railway login");
  expect(over.message).not.toMatch(/stale-token|revoked-token/);
  expect(endpoint.requests).toHaveLength(1);
  await save({ accessToken: "stale-token", tokenExpiresAt: 1 });
  expect(await refusal()).toMatchObject({ code: "login_expired", exitCode: 4 });
});

test("a refresh token that another process has just used up isn't the end: its successor is taken", async () => {
  await save({ accessToken: "stale", refreshToken: "again", tokenExpiresAt: 1 });
  endpoint.meanwhile = async () => {
    await save({ accessToken: "theirs", refreshToken: "next", tokenExpiresAt: now() + 3_600 });
  };
  expect((await railwayLogin(env))?.token).toBe("theirs");
});

test("RAILWAY_ENV chooses the file, as for the Railway CLI", () => {
  const name = (value: string): string =>
    loginPath({ ...env, RAILWAY_ENV: value })
      .split("/")
      .at(-1) ?? "";
  expect(["", "production", "staging", "dev", "Develop", "other"].map(name)).toEqual([
    "config.json",
    "config.json",
    "config-staging.json",
    "config-dev.json",
    "config-dev.json",
    "config.json",
  ]);
});

test("nobody logged in is no token; a damaged file is told, without its content", async () => {
  expect(await railwayLogin(env)).toBeNull();
  await save({});
  expect(await railwayLogin(env)).toBeNull();
  await save(null);
  expect(await railwayLogin(env)).toBeNull();
  const file = await save({});
  await writeFile(file, '{"user":{"token":"half-a-tok');
  const damaged = await refusal();
  expect(damaged).toMatchObject({ code: "login_unreadable", exitCode: 4 });
  expect(damaged.message).not.toContain("half-a-tok");
});

test("an empty --token is a mistake, and empty variables are none", async () => {
  await expect(findToken("", env)).rejects.toMatchObject({ code: "wrong_usage" });
  await expect(
    findToken(undefined, { ...env, RAILWAY_TOKEN: " ", RAILWAY_API_TOKEN: "" }),
  ).rejects.toMatchObject({
    code: "no_railway_token",
  });
});
