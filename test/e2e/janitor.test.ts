import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { tableAgeLimitMs } from "../../functions/apps/due.ts";
import { violations } from "../../functions/apps/invariants.ts";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { until } from "../helpers/stack.ts";

const TTL_MS = 100;
const TABLE_AGE_MS = tableAgeLimitMs(TTL_MS);

let world: UpstashStack;
const backends: Backend[] = [];

beforeAll(async () => {
  world = await onUpstash({ ROUTE_TTL_MS: String(TTL_MS) });
});

afterAll(async () => {
  await Promise.all(backends.map((backend) => backend.close()));
  await world.stop();
});

async function deploy(app: string, id: string): Promise<Backend> {
  const backend = await startBackend(id);
  backends.push(backend);
  const target = { kind: "url", url: backend.url };
  const answer = await world.stack.api("POST", `/apps/${app}/deployments`, { id, target });
  expect(answer.status).toBe(202);
  await world.stack.control.until(app, id, ["active"], 60_000);
  return backend;
}

/** An app whose v1 drains beside an active v2; `before`: while v1 is still active. */
async function draining(
  app: string,
  config: Record<string, unknown> = {},
  before: (v1: Backend) => Promise<void> | void = () => undefined,
): Promise<{ v1: Backend; v2: Backend }> {
  const body = { hosts: [`${app}.test`], previousRetentionSeconds: 0, reloadGraceSeconds: 0, ...config };
  expect((await world.stack.api("PUT", `/apps/${app}`, body)).status).toBe(201);
  const v1 = await deploy(app, "v1");
  await before(v1);
  const v2 = await deploy(app, "v2");
  return { v1, v2 };
}

interface Decision {
  app: string;
  deployment: string;
  action: string;
  reason: string;
  detail: string;
}

async function runJanitor(body: unknown = {}): Promise<{ outcome: unknown; decisions: Decision[] }> {
  const answer = await world.stack.api("POST", "/janitor/run", body);
  expect(answer.status).toBe(200);
  const { outcome, decisions, errors } = answer.body;
  expect(errors).toEqual([]);
  return { outcome, decisions: Array.isArray(decisions) ? decisions : [] };
}

async function v1Of(app: string) {
  const document = await world.document(app);
  expect(document && violations(document)).toEqual([]);
  const v1 = document?.deployments["v1"];
  if (!v1) throw new Error(`${app} has no v1`);
  return v1;
}

const about = (decisions: Decision[], app: string) => decisions.filter((decision) => decision.app === app);

/** Takes over a backend's session counter. */
function answerSessions(
  backend: Backend,
  answer: (response: ServerResponse, request: IncomingMessage) => void,
): void {
  backend.handler = (request, response) => {
    if (!request.url?.endsWith("/sessions")) return false;
    answer(response, request);
    return true;
  };
}

const says =
  (status: number, body: string, headers: Record<string, string> = {}) =>
  (response: ServerResponse): void => {
    response.writeHead(status, headers).end(body);
  };
const zero = JSON.stringify({ render_session_count: 0 });

const unclear: Record<string, (response: ServerResponse) => void> = {
  "never-answers": () => undefined,
  "stops-after-headers": (response) => response.writeHead(200).flushHeaders(),
  "stops-mid-body": (response) => void response.writeHead(200).write(zero.slice(0, 10)),
  "cut-mid-body": (response) => {
    response.writeHead(200, { "content-length": "500" }).write(zero);
    setTimeout(() => response.destroy(), 10);
  },
  "error-500": says(500, zero),
  "missing-404": says(404, zero),
  "refused-401": says(401, zero),
  "created-201": says(201, zero),
  "no-content-204": says(204, ""),
  "redirect-302": says(302, "", { location: "/zero" }),
  "html-page": says(200, "<!doctype html><h1>It works</h1>"),
  "empty-body": says(200, ""),
  "empty-object": says(200, "{}"),
  "null-body": says(200, "null"),
  "bare-zero": says(200, "0"),
  "null-count": says(200, '{"render_session_count":null}'),
  "false-count": says(200, '{"render_session_count":false}'),
  "negative-count": says(200, '{"render_session_count":-1}'),
  "fractional-count": says(200, '{"render_session_count":0.5}'),
  "huge-count": says(200, '{"render_session_count":1e308}'),
  "string-count": says(200, '{"render_session_count":"0"}'),
  "broken-json": says(200, '{"render_session_count":0'),
  "two-documents": says(200, `${zero}${zero}`),
  megabyte: says(200, zero + " ".repeat(1_000_000)),
  "wrong-gzip": says(200, zero, { "content-encoding": "gzip" }),
};

test("no unclear answer about sessions is ever taken for zero", async () => {
  const kinds = Object.entries(unclear);
  const lane = async (): Promise<void> => {
    for (let next = kinds.shift(); next; next = kinds.shift()) {
      const [kind, answer] = next;
      const { v1 } = await draining(kind);
      answerSessions(v1, answer);
    }
  };
  // All of them at once would keep a busy machine from answering within the store's patience.
  await Promise.all([lane(), lane(), lane(), lane()]);
  const gone = await draining("connection-refused");
  await gone.v1.close();
  const { outcome, decisions } = await runJanitor();
  expect(outcome).toBe("completed");
  for (const app of [...Object.keys(unclear), "connection-refused"]) {
    expect(about(decisions, app), app).toMatchObject([
      { deployment: "v1", action: "keep", reason: "sessions_unknown" },
    ]);
    expect(about(decisions, app)[0]?.detail, app).not.toBe("");
    expect(await v1Of(app), app).toMatchObject({ state: "draining", retirement: null });
  }
  for (const app of [...Object.keys(unclear), "connection-refused"]) {
    await world.stack.api("DELETE", `/apps/${app}`);
  }
});

test("past the deadline browsers are told once, pinned requests work until unrouted, and then it is removed", async () => {
  const seen: { askedAt: number; at: number; status: number; from: string }[] = [];
  const over = new AbortController();
  const visit = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const askedAt = Date.now();
      const { status, text } = await world.stack.request("late.test", "/?pulse_deployment=v1");
      seen.push({ askedAt, at: Date.now(), status, from: text.slice(0, 2) });
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  };
  let visitor = Promise.resolve();
  // Its deadline is a second after it begins to drain, which is no time for a test to do anything in.
  const { v1 } = await draining("late", { drainTtlSeconds: 1, reloadGraceSeconds: 2 }, async (before) => {
    before.sessions = 3;
    await until(
      () => world.stack.request("late.test", "/?pulse_deployment=v1"),
      ({ status }) => status === 200,
    );
    visitor = visit();
  });
  await world.stack.control.until("late", "v1", ["removed"], 60_000);
  await until(
    () => seen.at(-1)?.status,
    (status) => status === 409,
  );
  over.abort();
  await visitor;
  const { retirement, stateSince } = await v1Of("late");
  const toldAt = retirement?.reload?.at ?? 0;
  const unroutedAt = retirement?.unroutedAt ?? 0;
  expect(v1.reloads).toBe(1);
  expect(retirement).toMatchObject({ reason: "deadline", reload: { sockets: 3 } });
  expect(unroutedAt - toldAt).toBeGreaterThanOrEqual(2_000);
  expect(stateSince - unroutedAt).toBeGreaterThanOrEqual(TABLE_AGE_MS);
  const before = seen.filter(({ at }) => at < unroutedAt);
  expect(before.length).toBeGreaterThan(20);
  expect(before.every(({ status, from }) => status === 200 && from === "v1")).toBe(true);
  // Within a table's age of the unrouting both answers are right, and nothing else.
  expect(seen.every(({ status }) => status === 200 || status === 409)).toBe(true);
  const after = seen.filter(({ askedAt }) => askedAt > unroutedAt + TABLE_AGE_MS);
  expect(after.every(({ status }) => status === 409)).toBe(true);
});

test("zero deletes, any more keeps, the previous one is kept for a rollback and the active one isn't looked at", async () => {
  const empty = await draining("empty");
  const busy = await draining("busy");
  busy.v1.sessions = 1;
  await draining("recent", { previousRetentionSeconds: 600 });
  const { decisions } = await runJanitor();
  expect(about(decisions, "empty")).toMatchObject([
    { deployment: "v1", action: "delete", reason: "no_sessions" },
  ]);
  expect(about(decisions, "busy")).toMatchObject([
    { deployment: "v1", action: "keep", reason: "live_sessions" },
  ]);
  expect(about(decisions, "recent")).toMatchObject([{ action: "keep", reason: "kept_for_rollback" }]);
  expect(decisions.some(({ deployment }) => deployment === "v2")).toBe(false);
  await world.stack.control.until("empty", "v1", ["removed"], 60_000);
  expect(empty.v1.reloads).toBe(1);
  expect(await v1Of("busy")).toMatchObject({ state: "draining", retirement: null });
  expect((await world.document("empty"))?.active).toBe("v2");
});

test("somebody who returns between the janitor's look and the removal is spared", async () => {
  const { v1 } = await draining("returning");
  let looks = 0;
  answerSessions(v1, (response) => says(200, JSON.stringify({ render_session_count: looks++ }))(response));
  const { decisions } = await runJanitor();
  expect(about(decisions, "returning")).toMatchObject([{ action: "delete", reason: "no_sessions" }]);
  await until(
    () => v1Of("returning"),
    ({ retirement }) => retirement === null,
  );
  expect(looks).toBeGreaterThanOrEqual(2);
  expect(v1.reloads).toBe(0);
  const again = await runJanitor();
  expect(about(again.decisions, "returning")).toMatchObject([{ action: "keep", reason: "live_sessions" }]);
});

test("a dry run decides and gives its reasons as a real one would, and changes nothing", async () => {
  const kept = await draining("dry-kept");
  kept.v1.sessions = 1;
  const empty = await draining("dry-empty");
  const apps = ["dry-kept", "dry-empty"];
  const before = await Promise.all(apps.map((app) => world.document(app)));
  const published = await world.stack.api("GET", "/janitor/last");
  const dry = await runJanitor({ dryRun: true });
  expect(await Promise.all(apps.map((app) => world.document(app)))).toEqual(before);
  expect((await world.stack.api("GET", "/janitor/last")).body).toEqual(published.body);
  expect(empty.v1.reloads).toBe(0);
  const real = await runJanitor();
  for (const app of apps) expect(about(real.decisions, app)).toEqual(about(dry.decisions, app));
  await world.stack.control.until("dry-empty", "v1", ["removed"], 60_000);
});

test("of two janitors one works and the other does nothing", async () => {
  const { v1 } = await draining("slow-probe");
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  answerSessions(v1, (response) => {
    asked.resolve();
    void answer.promise.then(() => says(200, '{"render_session_count":4}')(response));
  });
  const first = runJanitor();
  await asked.promise;
  expect(await runJanitor()).toEqual({ outcome: "lease_held", decisions: [] });
  expect(await runJanitor({ dryRun: true })).toMatchObject({ outcome: "lease_held" });
  answer.resolve();
  const { outcome, decisions } = await first;
  expect(outcome).toBe("completed");
  expect(about(decisions, "slow-probe")).toMatchObject([{ reason: "live_sessions", detail: "4 live" }]);
  expect((await runJanitor()).outcome).toBe("completed");
});

test("a janitor that was killed leaves its lease to run out, and the next one works", async () => {
  const { v1 } = await draining("killed");
  const asked = Promise.withResolvers<void>();
  answerSessions(v1, () => asked.resolve());
  const first = world.stack.api("POST", "/janitor/run", {}).catch(() => null);
  await asked.promise;
  await world.stack.kill();
  expect(await first).toBeNull();
  await world.stack.restart();
  v1.handler = () => false;
  expect(await runJanitor()).toEqual({ outcome: "lease_held", decisions: [] });
  expect(await v1Of("killed")).toMatchObject({ state: "draining", retirement: null });
  // The half minute that is left of it passes at once.
  await redis(["PEXPIRE", "signalbox:lease:janitor", "1"]);
  const next = await until(runJanitor, ({ outcome }) => outcome !== "lease_held");
  expect(about(next.decisions, "killed")).toMatchObject([{ action: "delete", reason: "no_sessions" }]);
  await world.stack.control.until("killed", "v1", ["removed"], 60_000);
});

test("the last run is published, and one that is too long ago or unreadable shows as stale", async () => {
  await runJanitor();
  const { body } = await world.stack.api("GET", "/janitor/last");
  expect(body).toMatchObject({ stale: false, report: { outcome: "completed", dryRun: false, errors: [] } });
  const { report } = body;
  const old = { ...(typeof report === "object" ? report : {}), finishedAt: "2026-01-01T00:00:00.000Z" };
  await world.store.writeRecord("janitor", "last", JSON.stringify(old));
  expect((await world.stack.api("GET", "/janitor/last")).body).toMatchObject({ stale: true, report: old });
  await world.store.writeRecord("janitor", "last", JSON.stringify({ some: "other version" }));
  expect((await world.stack.api("GET", "/janitor/last")).body).toEqual({ stale: true, report: null });
  await world.stack.workerd.runCron();
  expect((await world.stack.api("GET", "/janitor/last")).body).toMatchObject({ stale: false });
});

test("a run that an operator asks for is in the audit log; a dry one and the cron's aren't", async () => {
  const { v1 } = await draining("audited");
  v1.sessions = 1;
  const entries = async () =>
    (await world.store.listAudit({ app: null, limit: 1_000, before: null }))
      .filter(({ action }) => action.startsWith("janitor"))
      .map(({ actor, action, details }) => ({ actor, action, details }));
  const before = await entries();
  await runJanitor({ dryRun: true });
  await world.stack.workerd.runCron();
  expect(await entries()).toEqual(before);
  const headers = { "idempotency-key": crypto.randomUUID() };
  const run = () => world.stack.api("POST", "/janitor/run", {}, headers);
  const { body } = await run();
  const { decisions } = body as { decisions: Decision[] };
  expect(about(decisions, "audited")).toMatchObject([{ action: "keep" }]);
  const kept = decisions.filter(({ action }) => action === "keep").length;
  const details = { outcome: "completed", deletions: decisions.length - kept, kept, errors: 0 };
  const entry = { actor: "operator", action: "janitor.run", details };
  expect(await entries()).toEqual([entry, ...before]);
  expect((await run()).body).toEqual(body);
  expect(await entries()).toEqual([entry, ...before]);
});

test("an app without a contract keeps its old deployment until the deadline and no longer", async () => {
  await draining("silent", { contract: "none", drainTtlSeconds: 6 });
  const { decisions } = await runJanitor();
  expect(about(decisions, "silent")).toMatchObject([{ action: "keep", reason: "sessions_unknown" }]);
  await world.stack.control.until("silent", "v1", ["removed"], 60_000);
  const { retirement, drainDeadline, stateSince } = await v1Of("silent");
  expect(retirement?.reason).toBe("deadline");
  expect(drainDeadline).toBeNull();
  expect(stateSince - (retirement?.requestedAt ?? 0)).toBeGreaterThanOrEqual(TABLE_AGE_MS);
});

test("a rollback takes a draining deployment back, even while its browsers are being told to reload", async () => {
  const { v1 } = await draining("back", { reloadGraceSeconds: 3_600 });
  v1.sessions = 1;
  expect((await world.stack.api("POST", "/apps/back/rollback")).status).toBe(200);
  expect(await v1Of("back")).toMatchObject({ state: "active", drainDeadline: null });
  expect((await world.stack.api("POST", "/apps/back/deployments/v2/promote")).status).toBe(200);
  expect((await world.stack.api("DELETE", "/apps/back/deployments/v1")).status).toBe(202);
  await until(
    () => v1.reloads,
    (reloads) => reloads === 1,
  );
  await until(
    () => v1Of("back"),
    ({ retirement }) => retirement?.reload != null,
  );
  expect((await world.stack.api("POST", "/apps/back/rollback")).status).toBe(200);
  expect(await v1Of("back")).toMatchObject({ state: "active", retirement: null, drainDeadline: null });
  const { decisions } = await runJanitor();
  expect(about(decisions, "back").map(({ deployment }) => deployment)).toEqual(["v2"]);
  const answer = await until(
    () => world.stack.request("back.test", "/"),
    ({ text }) => text.startsWith("v1"),
  );
  expect(answer.headers["x-signalbox-route"]).toBe("active");
});

async function redis(command: string[]): Promise<void> {
  const headers = { authorization: `Bearer ${world.front.token}` };
  const answer = await fetch(world.front.url, { method: "POST", headers, body: JSON.stringify(command) });
  expect(answer.status).toBe(200);
}
