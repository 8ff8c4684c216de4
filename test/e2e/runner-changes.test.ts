import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { archiveOf } from "../helpers/archive.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, until, type ApiAnswer, type TestStack } from "../helpers/stack.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

let world: UpstashStack;
let runner: RunnerProcess;
const connected: TunnelClient[] = [];

beforeAll(async () => {
  world = await onUpstash();
  runner = await startRunner(world.stack, { id: "real" });
});

afterAll(async () => {
  await runner.remove();
  await world.stop();
});

afterEach(async () => {
  await Promise.all(connected.splice(0).map((client) => client.close()));
});

async function connect(id: string): Promise<TunnelClient> {
  const client = await connectRunner(world.stack, id);
  connected.push(client);
  await until(
    () => api("GET", `/runners/${id}`),
    ({ body }) => body["connected"] === true,
  );
  return client;
}

const api: TestStack["api"] = (...call) => world.stack.api(...call);

const newKey = (): Record<string, string> => ({ "idempotency-key": crypto.randomUUID() });

/** The audit log's entries about a runner, oldest first: what was done, and what it says of it. */
async function audited(
  id: string,
): Promise<{ action: string; actor: string; details: Record<string, unknown> }[]> {
  const entries = await world.store.listAudit({ app: null, limit: 100, before: null });
  return entries
    .filter(({ details }) => details["runner"] === id)
    .map(({ action, actor, details }) => ({ action, actor, details }))
    .toReversed();
}

function expectProblem(answer: ApiAnswer, status: number, code: string): void {
  expect([answer.status, answer.body["code"]]).toEqual([status, code]);
}

test("the audit log has every change of a runner, and no refused one", async () => {
  const client = await connect("audited");
  const before = Date.now();
  await api("POST", "/runners/audited/drain", {});
  await api("POST", "/runners/audited/drain", { draining: false });
  await api("POST", "/runners/audited/commands", {
    type: "list-files",
    projectId: "shop",
    payload: { secret: "s3cret" },
  });
  const { body } = await api("POST", "/runners/audited/credentials", {});
  await api("DELETE", "/runners/audited/credentials");
  expectProblem(await api("DELETE", "/runners/audited"), 409, "runner_online");
  expectProblem(await api("POST", "/runners/nobody/drain", {}), 404, "unknown_runner");
  expectProblem(await api("POST", "/runners/nobody/commands", { type: "list-files" }), 503, "runner_offline");
  await client.close();
  await until(
    () => api("DELETE", "/runners/audited"),
    ({ status }) => status === 200,
  );
  const entries = await audited("audited");
  expect(entries.map(({ action }) => action)).toEqual([
    "runner.drain",
    "runner.undrain",
    "runner.command",
    "runner.issue-credential",
    "runner.revoke-credential",
    "runner.delete",
  ]);
  expect(entries.every(({ actor }) => actor === "operator")).toBe(true);
  expect(entries[2]?.details).toEqual({
    runner: "audited",
    command: client.commands.find(({ type }) => type === "list-files")?.["id"],
    type: "list-files",
    project: "shop",
    outcome: "sent",
  });
  expect(await audited("nobody")).toEqual([]);
  const rows = await world.store.listAudit({ app: null, limit: 100, before: null });
  expect(rows.every(({ at }) => at >= before - 60_000 && at <= Date.now())).toBe(true);
  expect(JSON.stringify(rows)).not.toContain("s3cret");
  expect(JSON.stringify(rows)).not.toContain(String(body["secret"]));
});

test("a repeated command with its key is sent once; another command with it is refused", async () => {
  const client = await connect("commanded");
  client.onCommand = ({ id }) => client.event({ type: "file-list", commandId: id, files: ["a whole file"] });
  const headers = newKey();
  const body = { type: "list-files", projectId: "shop" };
  const first = await api("POST", "/runners/commanded/commands?wait=10", body, headers);
  expect(first.body).toMatchObject({ ok: true, event: { files: ["a whole file"] } });
  const again = await api("POST", "/runners/commanded/commands?wait=10", body, headers);
  expect([again.status, again.body]).toEqual([200, { ok: true, commandId: first.body["commandId"] }]);
  const other = await api(
    "POST",
    "/runners/commanded/commands?wait=10",
    { ...body, projectId: "other" },
    headers,
  );
  expectProblem(other, 422, "idempotency_key_reused");
  expect(client.commands).toHaveLength(1);
  expect((await audited("commanded")).map(({ action }) => action)).toEqual(["runner.command"]);
});

test("of simultaneous requests with one key one is carried out, and the others are refused", async () => {
  const client = await connect("crowded");
  const arrived = Promise.withResolvers<unknown>();
  client.onCommand = ({ id }) => arrived.resolve(id);
  const headers = newKey();
  const send = () => api("POST", "/runners/crowded/commands?wait=20", { type: "list-files" }, headers);
  const first = send();
  const id = await arrived.promise;
  for (const answer of await Promise.all([send(), send(), send()]))
    expectProblem(answer, 409, "operation_under_way");
  client.event({ type: "file-list", commandId: id });
  expect((await first).status).toBe(200);
  expect((await send()).body).toEqual({ ok: true, commandId: id });
  expect(client.commands).toHaveLength(1);
});

test("a command that couldn't be sent can be sent again under its key", async () => {
  await (await connect("returning")).close();
  const headers = newKey();
  const send = () => api("POST", "/runners/returning/commands", { type: "list-files" }, headers);
  await until(send, ({ body }) => body["code"] === "runner_offline");
  const client = await connect("returning");
  expect((await send()).status).toBe(200);
  expect((await send()).status).toBe(200);
  expect(client.commands).toHaveLength(1);
});

test("a repeated drain doesn't undo a later decision", async () => {
  await connect("drained");
  const headers = newKey();
  const first = await api("POST", "/runners/drained/drain", {}, headers);
  expect(first.body).toMatchObject({ state: "draining", drainRequested: true });
  await api("POST", "/runners/drained/drain", { draining: false });
  expect((await api("POST", "/runners/drained/drain", {}, headers)).body).toEqual(first.body);
  expect((await api("GET", "/runners/drained")).body).toMatchObject({
    state: "online",
    drainRequested: false,
  });
});

test("a credential's secret is shown once and stored nowhere", async () => {
  const headers = newKey();
  const first = await api("POST", "/runners/secretive/credentials", {}, headers);
  expect(first.status).toBe(201);
  const secret = String(first.body["secret"]);
  expect(secret).toMatch(/^sbr_[0-9a-f]{64}$/);
  const again = await api("POST", "/runners/secretive/credentials", {}, headers);
  expectProblem(again, 409, "secret_shown_once");
  expect(JSON.stringify(again.body)).not.toContain(secret);
  expect(
    JSON.stringify(await world.store.readIdempotencyRecord(headers["idempotency-key"] ?? "")),
  ).not.toContain(secret);
  // The first one still holds: the repetition has issued no other.
  connected.push(await connectRunner(world.stack, "secretive", {}, { secret }));
});

test("a change that couldn't be recorded says so, and a repeat makes it again", async () => {
  const client = await connect("unrecorded");
  const headers = newKey();
  const arrived = Promise.withResolvers<void>();
  client.onCommand = () => arrived.resolve();
  const unhook = world.front.onCommand((command, phase) => {
    if (phase === "before" && command.some((part) => part.includes("runner.command")))
      throw new Error("The front breaks off.");
  });
  const send = () => api("POST", "/runners/unrecorded/commands", { type: "list-files" }, headers);
  const failed = await send();
  unhook();
  expectProblem(failed, 503, "store_unavailable");
  expect(failed.body["detail"]).toContain("was carried out on runner unrecorded but not recorded");
  await arrived.promise;
  expect((await send()).status).toBe(200);
  expect((await audited("unrecorded")).map(({ action }) => action)).toEqual(["runner.command"]);
});

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function upload(archive: Uint8Array, headers: Record<string, string>): Promise<ApiAnswer> {
  const response = await fetch(`${world.stack.origin}/_signalbox/api/v1/runners/real/sources`, {
    method: "PUT",
    headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip", ...headers },
    body: new Uint8Array(archive),
  });
  return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
}

const lookFor = (sha256: string, id = "real"): Promise<ApiAnswer> =>
  api("GET", `/runners/${id}/sources/${sha256}`);

test("a source with another SHA-256 than announced is refused, naming the header", async () => {
  const archive = await archiveOf({ "README.md": "expected\n" });
  const other = await archiveOf({ "README.md": "something else\n" });
  const expected = { "x-signalbox-sha256": sha256Of(archive) };
  expectProblem(await lookFor(sha256Of(archive)), 404, "unknown_source");
  const refused = await upload(other, expected);
  expectProblem(refused, 422, "source_refused");
  expect(refused.body["errors"]).toMatchObject([{ field: "header.x-signalbox-sha256" }]);
  expect(refused.body["detail"]).toContain(sha256Of(other));
  for (const bytes of [archive, other]) expectProblem(await lookFor(sha256Of(bytes)), 404, "unknown_source");
  const malformed = await upload(archive, { "x-signalbox-sha256": "abc" });
  expectProblem(malformed, 400, "invalid_request");
  expect(malformed.body["errors"]).toMatchObject([{ field: "header.x-signalbox-sha256" }]);
  expect((await upload(archive, expected)).status).toBe(200);
});

test("a client can ask whether a runner has a source", async () => {
  const archive = await archiveOf({ "README.md": "asked for\n" });
  const sha256 = sha256Of(archive);
  expectProblem(await lookFor(sha256), 404, "unknown_source");
  await upload(archive, {});
  expect((await lookFor(sha256)).body).toEqual({ sha256, bytes: archive.length });
  const head = await fetch(`${world.stack.origin}/_signalbox/api/v1/runners/real/sources/${sha256}`, {
    method: "HEAD",
    headers: { authorization: `Bearer ${CONTROL_TOKEN}` },
  });
  expect([head.status, await head.text()]).toEqual([200, ""]);
  expectProblem(await lookFor(sha256, "nobody"), 503, "runner_offline");
  expectProblem(await lookFor("abc"), 400, "invalid_request");
});

test("an upload with an Idempotency-Key needs its SHA-256", async () => {
  const archive = await archiveOf({ "README.md": "keyed\n" });
  const headers = newKey();
  const without = await upload(archive, headers);
  expectProblem(without, 400, "invalid_request");
  expect(without.body["errors"]).toMatchObject([{ field: "header.x-signalbox-sha256" }]);
  const keyed = { ...headers, "x-signalbox-sha256": sha256Of(archive) };
  const first = await upload(archive, keyed);
  expect(first.body).toEqual({ sha256: sha256Of(archive), bytes: archive.length });
  expect((await upload(archive, keyed)).body).toEqual(first.body);
  const entries = (await audited("real")).filter(({ details }) => details["sha256"] === sha256Of(archive));
  expect(entries.map(({ action }) => action)).toEqual(["runner.upload"]);
});
