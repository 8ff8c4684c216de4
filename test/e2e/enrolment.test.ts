import { once } from "node:events";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { CREDENTIAL_HEADER, ENROLLED_HEADER } from "../../functions/protocol/enrolment.ts";
import { credentialFile } from "../../runner/connection/credential-file.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { startRunner, viewRunner, type RunnerOptions, type RunnerProcess } from "../helpers/runner.ts";
import { RUNNER_SECRET, startTestStack, until } from "../helpers/stack.ts";
import { connectRunner, refusal, runnerSocket } from "../helpers/tunnel-client.ts";

const FAST = { RUNNER_HEARTBEAT_INTERVAL: "1000" };
const WITHOUT_SECRET = { RUNNER_SHARED_SECRET: "" };

let world: UpstashStack;
const runners: RunnerProcess[] = [];
let count = 0;

beforeAll(async () => {
  world = await onUpstash();
});
afterEach(async () => {
  await Promise.all(runners.splice(0).map((runner) => runner.remove()));
});
afterAll(() => world.stop());

function fresh(): string {
  count += 1;
  return `enrolling-${count}`;
}

async function run(id: string, options: RunnerOptions = {}): Promise<RunnerProcess> {
  const runner = await startRunner(world.stack, { id, ...options, env: { ...FAST, ...options.env } });
  runners.push(runner);
  return runner;
}

async function kept(runner: RunnerProcess): Promise<{ secret: string | null; next: string | null }> {
  return JSON.parse(await readFile(credentialFile(runner.workspace, runner.id), "utf8"));
}

async function enrolled(runner: RunnerProcess): Promise<string> {
  await runner.line("has a credential of its own");
  const { secret } = await kept(runner);
  return secret ?? expect.unreachable("nothing was kept");
}

const view = async (id: string) => (await world.stack.api("GET", `/runners/${id}`)).body;

/** A socket that wants to enrol; answers whether the hub agreed, or why not. */
async function enrol(id: string, secret: string, shared = RUNNER_SECRET, port = world.stack.port) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/_signalbox/socket?runnerId=${id}`, {
    headers: { authorization: `Bearer ${shared}`, [CREDENTIAL_HEADER]: secret },
  });
  const answer = once(socket, "upgrade").then(([response]: IncomingMessage[]) => ({
    status: 101,
    enrolled: response?.headers[ENROLLED_HEADER] ?? null,
    code: null,
  }));
  const refused = refusal(socket).then(({ status, body }) => ({
    status,
    enrolled: null,
    code: JSON.parse(body).code as string,
  }));
  const result = await Promise.race([answer, refused]);
  return { ...result, socket };
}

const secretOf = (digit: string): string => `sbr_${digit.repeat(64)}`;

test("a runner enrols at its first connection, and then needs no shared secret", async () => {
  const id = fresh();
  const runner = await run(id);
  const secret = await enrolled(runner);
  const file = credentialFile(runner.workspace, id);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(dirname(file))).mode & 0o777).toBe(0o700);
  expect(await view(id)).toMatchObject({ ownCredential: true, enrolled: true });
  await until(
    () => world.store.readRecord("runner", id),
    (record) => record?.includes("credentialSha256") === true && !record.includes('"enrolledAt":null'),
  );
  expect(await world.store.readRecord("runner", id)).not.toContain(secret);
  expect(await world.store.listAudit({ app: null, limit: 50, before: null })).toContainEqual(
    expect.objectContaining({ actor: "runner", action: "runner.enrol", details: { runner: id } }),
  );
  expect(runner.output()).not.toContain(secret);
  await runner.stop();
  await runner.start(WITHOUT_SECRET);
  expect(await kept(runner)).toEqual({ secret, next: null });
  const [latest] = (await view(id))["connections"] as { state: string }[];
  expect(latest?.state).toBe("online");
});

test("the shared secret alone doesn't open the id of an enrolled runner, whoever comes with it", async () => {
  const id = fresh();
  const runner = await run(id);
  await enrolled(runner);
  for (const subprotocol of [undefined, null]) {
    const refused = await refusal(
      runnerSocket(world.stack, id, subprotocol === undefined ? {} : { subprotocol }),
    );
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([403, "runner_enrolled"]);
    expect(JSON.parse(refused.body).detail).toContain(`signalbox runners credentials ${id} --revoke`);
  }
  expect(await enrol(id, secretOf("a"))).toMatchObject({ status: 403, code: "runner_enrolled" });
  // Nor while it is away.
  expect(await view(id)).toMatchObject({ epoch: 1, state: "online" });
  await runner.stop();
  expect(await enrol(id, secretOf("a"))).toMatchObject({ status: 403, code: "runner_enrolled" });
});

test("of two that enrol under one id at once, one is let in", async () => {
  const id = fresh();
  const both = await Promise.all([enrol(id, secretOf("1")), enrol(id, secretOf("2"))]);
  expect(both.map(({ status }) => status).toSorted((one, other) => one - other)).toEqual([101, 403]);
  const again = await enrol(id, secretOf(both[0]?.status === 101 ? "1" : "2"));
  expect([again.status, again.enrolled]).toEqual([101, "1"]);
  for (const { socket } of [...both, again]) socket.terminate();
});

test("a runner that was killed before it heard of its enrolment comes back, without the shared secret too", async () => {
  const id = fresh();
  const runner = await run(id, { env: { RUNNER_ENROL: "0" } });
  await runner.kill();
  const lost = await enrol(id, secretOf("c"));
  expect(lost.enrolled).toBe("now");
  lost.socket.terminate();
  await mkdir(dirname(credentialFile(runner.workspace, id)), { recursive: true });
  await writeFile(
    credentialFile(runner.workspace, id),
    JSON.stringify({ secret: null, next: secretOf("c") }),
  );
  await runner.start({ RUNNER_ENROL: "1" });
  expect(await enrolled(runner)).toBe(secretOf("c"));
  await runner.kill();
  await writeFile(
    credentialFile(runner.workspace, id),
    JSON.stringify({ secret: null, next: secretOf("c") }),
  );
  await runner.start(WITHOUT_SECRET);
  expect(await enrolled(runner)).toBe(secretOf("c"));
});

test("a runner enrols, and comes back, while the store is away", async () => {
  const id = fresh();
  await world.front.setMode("refuse");
  try {
    const [one, other] = [secretOf("d"), secretOf("e")];
    const first = await enrol(id, one);
    expect(first.enrolled).toBe("now");
    const again = await connectRunner(world.stack, id, {}, { secret: one });
    expect((await refusal(runnerSocket(world.stack, id, { secret: other }))).status).toBe(401);
    expect((await refusal(runnerSocket(world.stack, id))).status).toBe(403);
    await again.close();
  } finally {
    await world.front.setMode("ok");
  }
  await until(
    () => world.store.readRecord("runner", id),
    (record) => record?.includes('"enrolledAt":1') === true,
  );
});

test("a revoked runner enrols anew with the shared secret, and says what to do without it", async () => {
  const id = fresh();
  const runner = await run(id);
  const former = await enrolled(runner);
  await world.stack.api("DELETE", `/runners/${id}/credentials`);
  await until(
    () => kept(runner),
    ({ secret }) => secret !== null && secret !== former,
  );
  expect(await view(id)).toMatchObject({ enrolled: true });
  expect((await refusal(runnerSocket(world.stack, id, { secret: former }))).status).toBe(401);
  await runner.stop();
  await runner.start(WITHOUT_SECRET);
  await world.stack.api("DELETE", `/runners/${id}/credentials`);
  const line = await runner.line("it was revoked or replaced");
  expect(line).toContain(credentialFile(runner.workspace, id));
  expect(line).toContain("set RUNNER_SHARED_SECRET to enrol again");
});

test("a runner that lost its credential is told how to get its id back, and gets it", async () => {
  const id = fresh();
  const runner = await run(id);
  const former = await enrolled(runner);
  await runner.stop();
  await rm(credentialFile(runner.workspace, id));
  const starting = runner.start();
  await until(
    () => runner.output(),
    (output) => output.includes(`signalbox runners credentials ${id} --revoke`),
  );
  await world.stack.api("DELETE", `/runners/${id}/credentials`);
  await starting;
  expect(await enrolled(runner)).not.toBe(former);
});

test("a damaged credential stops a runner that has nothing else, and the message has the remedy", async () => {
  const id = fresh();
  const runner = await run(id);
  await enrolled(runner);
  await runner.stop();
  const file = credentialFile(runner.workspace, id);
  for (const damaged of ["", "{", "[]", '{"secret":"x"}', '{"secret":null}']) {
    await writeFile(file, damaged);
    await expect(runner.start(WITHOUT_SECRET)).rejects.toThrow(
      `${file}, this runner's own credential, is damaged`,
    );
    expect(await runner.exited).toBe(1);
    expect(runner.output()).toContain(`signalbox runners credentials ${id} --revoke`);
  }
});

test("an issued credential closes the id to the shared secret once it was used, and replaces the kept one", async () => {
  const id = fresh();
  const issue = async () =>
    String((await world.stack.api("POST", `/runners/${id}/credentials`)).body["secret"]);
  const first = await issue();
  const before = await enrol(id, secretOf("f"));
  // The shared one still does, but enrolling would undo what the operator issued.
  expect([before.status, before.enrolled]).toEqual([101, null]);
  before.socket.terminate();
  const runner = await run(id, { env: { RUNNER_SHARED_SECRET: first } });
  expect(await enrolled(runner)).toBe(first);
  expect((await refusal(runnerSocket(world.stack, id))).status).toBe(403);
  const second = await issue();
  await runner.stop();
  await runner.start({ RUNNER_SHARED_SECRET: second });
  expect(await enrolled(runner)).toBe(second);
});

test("a runner that isn't to enrol connects by the shared secret as ever", async () => {
  const id = fresh();
  const runner = await run(id, { env: { RUNNER_ENROL: "0" } });
  expect(await view(id)).toMatchObject({ ownCredential: false, enrolled: false });
  await connectRunner(world.stack, id).then((other) => other.close());
  await expect(kept(runner)).rejects.toThrow("ENOENT");
});

test("a hub that lost what it kept takes from the registry who has enrolled", async () => {
  const id = fresh();
  const first = await enrol(id, secretOf("9"));
  first.socket.terminate();
  const isOffline = (record: string | null): boolean => record?.includes('"state":"offline"') === true;
  await until(() => world.store.readRecord("runner", id), isOffline);
  await world.stack.kill();
  await rm(join(world.stack.stateDirectory, "signalbox-RunnerHub"), { recursive: true });
  await world.stack.restart();
  expect((await refusal(runnerSocket(world.stack, id))).status).toBe(403);
  await world.stack.api("POST", `/runners/${id}/drain`);
  expect(await view(id)).toMatchObject({ enrolled: true, drainRequested: true });
  await (await connectRunner(world.stack, id, {}, { secret: secretOf("9") })).close();
});

test("with enrolment required the shared secret enrols and does nothing else; without one, enrolled runners connect", async () => {
  const former = "former-shared-secret-for-tests";
  const stack = await startTestStack({
    settings: { RUNNER_ENROLMENT: "required", RUNNER_SHARED_SECRET_PREVIOUS: former },
  });
  try {
    for (const secret of [RUNNER_SECRET, former]) {
      const refused = await refusal(runnerSocket(stack, "plain", { secret }));
      expect([refused.status, JSON.parse(refused.body).code]).toEqual([403, "enrolment_required"]);
    }
    const one = await enrol("one", secretOf("1"), RUNNER_SECRET, stack.port);
    const two = await enrol("two", secretOf("2"), former, stack.port);
    expect([one.enrolled, two.enrolled]).toEqual(["now", "now"]);
    expect(await enrol("three", "sbr_short", RUNNER_SECRET, stack.port)).toMatchObject({
      status: 400,
      code: "invalid_request",
    });
    await stack.restart({
      RUNNER_SHARED_SECRET: "changed-shared-secret",
      RUNNER_SHARED_SECRET_PREVIOUS: "changed-as-well-1",
    });
    await until(
      () => viewRunner(stack, "one"),
      ({ connected }) => !connected,
    );
    await (await connectRunner(stack, "one", {}, { secret: secretOf("1") })).close();
    expect(await enrol("four", secretOf("4"), RUNNER_SECRET, stack.port)).toMatchObject({ status: 401 });
  } finally {
    await stack.stop();
  }
  const bare = await startTestStack({ runnerSecret: null });
  try {
    const { body } = await bare.api("POST", "/runners/given/credentials");
    const runner = await connectRunner(bare, "given", {}, { secret: String(body["secret"]) });
    expect((await refusal(runnerSocket(bare, "given"))).status).toBe(503);
    await runner.close();
  } finally {
    await bare.stop();
  }
});
