import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { request } from "undici";
import { projectRoot } from "../../scripts/build/worker.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { startLocalService, type LocalService } from "../helpers/local-service.ts";
import { Program } from "../helpers/program.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { bundleWithServices, runtimeCommand, startRunner, type RunnerProcess } from "../helpers/runner.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";
const SECONDS = soak ? 60 : 6;
const PER_SECOND = 50;
/** How many of each an attacker is, by default a part of what it was when it took a whole runner away. */
const COUNTS: Record<string, number> = {
  unfinished: soak ? 4_500 : 1_200,
  sockets: soak ? 4_500 : 1_200,
  uploads: soak ? 300 : 40,
  unread: soak ? 300 : 40,
  "deaf-app": soak ? 5 : 2,
  "empty-out": soak ? 4 : 1,
  "empty-in": soak ? 4 : 1,
  "deaf-visitor": soak ? 5 : 1,
};

let world: UpstashStack;
let runner: RunnerProcess;
let bundle: Awaited<ReturnType<typeof bundleWithServices>>;
let hostile: Program;
let calm: LocalService;
let quietMs = 0;

beforeAll(async () => {
  world = await onUpstash(soak ? {} : { RUNNER_REQUESTS_LIMIT: "1024", RUNNER_SOCKETS_LIMIT: "1024" });
  hostile = program("test/helpers/hostile-app.ts");
  const port = Number(/\d+$/.exec(await hostile.line("port "))?.[0]);
  calm = await startLocalService();
  bundle = await bundleWithServices();
  runner = await startRunner(world.stack, {
    id: "r1",
    command: runtimeCommand("node", bundle.bundle),
    services: { "hostile/v1": port, "calm/v1": calm.port },
  });
  for (const app of ["hostile", "calm"])
    await putRunnerApp(world.store, { app, host: `${app}.test`, runnerId: "r1", service: `${app}/v1` });
});

afterAll(async () => {
  await runner.remove();
  await hostile.kill();
  await world.stop();
  await Promise.all([calm.close(), bundle.remove()]);
});

function program(file: string, ...args: string[]): Program {
  return new Program([process.execPath, join(projectRoot, file), ...args], {
    env: { PATH: process.env["PATH"] ?? "" },
  });
}

/** A neighbour's visitors: what each was answered, and how long it took. */
async function visitors(seconds: number): Promise<{ lost: string[]; p50: number; p99: number }> {
  const lost: string[] = [];
  const times: number[] = [];
  const startedAt = performance.now();
  const all: Promise<void>[] = [];
  for (let n = 0; n < seconds * PER_SECOND; n += 1) {
    await sleep(Math.max(0, startedAt + (n * 1_000) / PER_SECOND - performance.now()));
    const at = performance.now();
    // Each fifth with a body, whose credit an attacker may have.
    const isUpload = n % 5 === 0;
    const asked = request(`${world.stack.origin}/hash?n=${n}`, {
      method: isUpload ? "POST" : "GET",
      body: isUpload ? Buffer.alloc(100_000) : null,
      headers: { host: "calm.test" },
      signal: AbortSignal.timeout(60_000),
    });
    const answered = async (): Promise<void> => {
      try {
        const { statusCode, body } = await asked;
        const text = await body.text();
        if (statusCode !== 200) lost.push(`${statusCode} ${text.slice(0, 200)}`);
        times.push(performance.now() - at);
      } catch (error) {
        lost.push(String(error));
      }
    };
    all.push(answered());
  }
  await Promise.all(all);
  times.sort((one, other) => one - other);
  const at = (part: number): number => times[Math.floor(times.length * part)] ?? Number.NaN;
  return { lost, p50: at(0.5), p99: at(0.99) };
}

test(`a neighbour of nobody is answered ${PER_SECOND} times a second`, async () => {
  await visitors(2);
  const { lost, p50, p99 } = await visitors(SECONDS);
  console.log(`quiet: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`);
  expect(lost).toEqual([]);
  quietMs = p99;
});

const kinds = Object.keys(COUNTS);
test.each([...kinds.map((kind) => [kind, [kind]] as const), ["all of it", kinds] as const])(
  "a neighbour loses no request under %s",
  { timeout: SECONDS * 1_000 + 120_000 },
  async (name, attacks) => {
    const attackers = attacks.map((kind) =>
      program(
        "test/helpers/attacker.ts",
        kind,
        String(world.stack.port),
        "hostile.test",
        String(COUNTS[kind]),
        soak ? "hard" : "",
      ),
    );
    try {
      // Time for the attackers to be there; what they do first counts as well.
      const { lost, p50, p99 } = await visitors(SECONDS);
      console.log(
        `${name}: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, ` +
          `${(p99 / quietMs).toFixed(1)} times that of the quiet runner`,
      );
      expect(lost).toEqual([]);
    } finally {
      await Promise.all(attackers.map((attacker) => attacker.kill()));
    }
  },
);
