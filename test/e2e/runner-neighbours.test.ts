import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { startLocalService, type LocalService } from "../helpers/local-service.ts";
import { toldBeside, VISITS_PER_SECOND, visits, type Visits } from "../helpers/neighbour.ts";
import { Program } from "../helpers/program.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { bundleWithServices, runtimeCommand, startRunner, type RunnerProcess } from "../helpers/runner.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";
const SECONDS = soak ? 60 : 6;
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

const CALM = "calm.test";

let world: UpstashStack;
let runner: RunnerProcess;
let bundle: Awaited<ReturnType<typeof bundleWithServices>>;
let hostile: Program;
let calm: LocalService;
let quiet: Visits;

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

test(`a neighbour of nobody is answered ${VISITS_PER_SECOND} times a second`, async () => {
  await visits(world.stack.origin, CALM, 2);
  quiet = await visits(world.stack.origin, CALM, SECONDS);
  console.log(`quiet: p50 ${quiet.p50.toFixed(1)} ms, p99 ${quiet.p99.toFixed(1)} ms`);
  expect(quiet.lost).toEqual([]);
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
      const seen = await visits(world.stack.origin, CALM, SECONDS);
      console.log(`${name}: ${toldBeside(seen, quiet)}`);
      expect(seen.lost).toEqual([]);
    } finally {
      await Promise.all(attackers.map((attacker) => attacker.kill()));
    }
  },
);
