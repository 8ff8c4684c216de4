import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  parseHostedDeployment,
  parseHostedLogPage,
  parseRunnerRefusal,
  parseStoredSource,
  runnerRefusalStatuses,
  runnerPaths,
  SHA256_HEADER,
  SOURCE_BYTES_HEADER,
  type HostedSpec,
} from "../../functions/protocol/runner-api.ts";
import { archive } from "../helpers/archive.ts";
import { server, UnconnectedRunner } from "../helpers/unconnected-runner.ts";

/** A real runner's answers, read by the Worker's parsers: no field gets lost. */

let root: string;
let runner: UnconnectedRunner;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-runner-api-"));
  runner = await UnconnectedRunner.start({ root });
});

afterAll(async () => {
  await runner.stop();
  await rm(root, { recursive: true, force: true });
});

interface Answered {
  status: number;
  headers: Headers;
  body: unknown;
}

async function call(method: string, path: string, init: RequestInit = {}): Promise<Answered> {
  const response = await fetch(`${runner.origin}${path}`, { method, ...init });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: text === "" ? null : (JSON.parse(text) as unknown),
  };
}

test("the Worker's parsers read each answer, from upload to removal", async () => {
  const { data, sha256 } = await archive({ "server.mjs": server('response.end("up")') });
  const upload = await call("PUT", runnerPaths.sources, {
    headers: { [SHA256_HEADER]: sha256 },
    body: new Uint8Array(data),
  });
  expect(upload.status).toBe(200);
  expect(parseStoredSource(upload.body)).toEqual({ sha256, bytes: data.length });
  expect(upload.body).toEqual({ sha256, bytes: data.length });
  const found = await call("HEAD", runnerPaths.source(sha256));
  expect([found.status, found.headers.get(SOURCE_BYTES_HEADER)]).toEqual([200, String(data.length)]);
  expect((await call("HEAD", runnerPaths.source("0".repeat(64)))).status).toBe(404);

  const key = "shop/v1";
  const spec: HostedSpec = { source: { sha256 }, start: "exec node server.mjs", env: { A: "b" } };
  const put = await call("PUT", runnerPaths.deployment(key), { body: JSON.stringify(spec) });
  expect(put.status).toBe(202);
  expect(parseHostedDeployment(put.body)).toEqual(put.body);
  await runner.reaches(key, "running");
  const running = await call("GET", runnerPaths.deployment(key));
  expect(running.status).toBe(200);
  expect(running.body).toMatchObject({ app: "shop", id: "v1", state: "running", source: { sha256 } });
  expect(parseHostedDeployment(running.body)).toEqual(running.body);

  const page = await call("GET", runnerPaths.logs(key, { cursor: 0, limit: 2, wait: 1 }));
  expect(page.status).toBe(200);
  expect(page.body).toMatchObject({ lines: [{ stream: "system", step: "unpack" }, {}] });
  expect(parseHostedLogPage(page.body)).toEqual(page.body);

  const restart = await call("POST", runnerPaths.restart(key, "1"));
  expect(restart.status).toBe(202);
  expect(parseHostedDeployment(restart.body)).toEqual(restart.body);
  const status = await call("GET", runnerPaths.status);
  expect(status.body).toMatchObject({ deployments: [{ id: "v1" }], disk: {} });
  const removed = await call("DELETE", runnerPaths.deployment(key));
  expect([removed.status, removed.body]).toEqual([200, { removed: true }]);
});

test.each([
  ["PUT", runnerPaths.deployment("shop/v2"), "{", "invalid_request"],
  [
    "PUT",
    runnerPaths.deployment("shop/v2"),
    { source: { sha256: "0".repeat(64) }, start: "x" },
    "source_not_found",
  ],
  ["PUT", runnerPaths.sources, "no gzip, but long enough", "invalid_archive"],
  ["GET", runnerPaths.deployment("shop/v2"), null, "deployment_not_found"],
  ["POST", runnerPaths.restart("shop/v2", "1"), null, "deployment_not_found"],
  ["PATCH", runnerPaths.status, null, "method_not_allowed"],
  ["GET", "/nothing", null, "not_found"],
] as const)("%s %s with %j is refused with %s", async (method, path, body, code) => {
  const text = body === null || typeof body === "string" ? body : JSON.stringify(body);
  const answer = await call(method, path, { body: text });
  expect(answer.status).toBe(runnerRefusalStatuses[code]);
  expect(parseRunnerRefusal(answer.body)).toEqual(answer.body);
  expect(answer.body).toMatchObject({ code });
});
