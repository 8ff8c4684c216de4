import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { connectRunner } from "../helpers/tunnel-client.ts";
import { RUNNER_SECRET, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

let stack: TestStack;
let runner: RunnerProcess;
let count = 0;

beforeAll(async () => {
  stack = await startTestStack();
  // It keeps to the shared secret, as SentryVibe's web app does.
  runner = await startRunner(stack, { id: "vibe", env: { RUNNER_AGENT: AGENT, RUNNER_ENROL: "0" } });
});
afterAll(async () => {
  await runner?.remove();
  await stack?.stop();
});

async function command(type: string, payload: object, projectId = "b7c1"): Promise<string> {
  const id = `c-${++count}`;
  const response = await fetch(`${stack.origin}/_signalbox/commands`, {
    method: "POST",
    headers: { authorization: `Bearer ${RUNNER_SECRET}`, "content-type": "application/json" },
    body: JSON.stringify({ runnerId: "vibe", command: { id, type, projectId, payload } }),
  });
  expect([response.status, await response.json()]).toEqual([200, { ok: true }]);
  return id;
}

async function event(commandId: string, type: string): Promise<Record<string, unknown>> {
  const found = await until(
    async () => {
      const { body } = await stack.api("GET", "/runners/vibe");
      const events = body["recentEvents"] as Record<string, unknown>[];
      return events.find((one) => one["commandId"] === commandId && one["type"] === type);
    },
    (seen) => seen !== undefined,
  );
  return found ?? {};
}

/** What a visitor sees who comes by a link. */
async function visit(link: unknown): Promise<string> {
  const { hostname, pathname, search } = new URL(String(link));
  const entry = await stack.request(hostname, pathname + search);
  expect(entry.status).toBe(303);
  const cookie = String(entry.headers["set-cookie"]).split(";")[0] ?? "";
  const page = await until(
    () => stack.request(hostname, "/", { headers: { cookie } }),
    ({ status }) => status === 200,
  );
  return page.text;
}

test("a project that SentryVibe makes has a preview, by a link that is its tunnel's address", async () => {
  const names = { projectSlug: "tea", projectName: "Tea", operationType: "initial-build" };
  const build = await command("start-build", { ...names, prompt: "page Green tea" });
  await event(build, "build-completed");
  expect(await visit((await event(build, "port-detected"))["tunnelUrl"])).toContain("Green tea");
  expect((await stack.api("GET", "/projects/tea")).body).toMatchObject({ name: "Tea", runnerId: "vibe" });
  const { port } = await event(build, "port-detected");
  const tunnel = await command("start-tunnel", { port });
  const { tunnelUrl } = await event(tunnel, "tunnel-created");
  expect(tunnelUrl).toContain(`//${port as number}--tea.preview.localhost`);
  expect(await visit(tunnelUrl)).toContain("Green tea");
  const stranger = await command("start-tunnel", { port: stack.port });
  expect(await event(stranger, "error")).toMatchObject({ code: "invalid_request" });
  const gone = await command("delete-project-files", { slug: "tea" });
  await event(gone, "files-deleted");
  await until(
    () => stack.api("GET", "/projects/tea"),
    ({ status }) => status === 404,
  );
  expect(runner.hosted()).toEqual([]);
});

test("a project of another runner isn't taken over", async () => {
  await stack.api("POST", "/projects", { slug: "kept", runnerId: "vibe" });
  const other = await connectRunner(stack, "other");
  await until(
    async () => (await stack.api("GET", "/runners/other")).body["protocol"],
    (seen) => seen === "signalbox.runner.v1",
  );
  const response = await fetch(`${stack.origin}/_signalbox/commands`, {
    method: "POST",
    headers: { authorization: `Bearer ${RUNNER_SECRET}`, "content-type": "application/json" },
    body: JSON.stringify({
      runnerId: "other",
      command: { type: "start-build", payload: { projectSlug: "kept", prompt: "x" } },
    }),
  });
  expect([response.status, await response.json()]).toEqual([
    409,
    { error: "This project lives on another runner" },
  ]);
  expect(other.commands).toEqual([]);
  await other.close();
  expect((await stack.api("GET", "/projects/kept")).body).toMatchObject({ runnerId: "vibe" });
});
