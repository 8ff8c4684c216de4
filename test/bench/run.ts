import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { buildExecutable, bundleRunner } from "../../scripts/build/runner.ts";
import { buildWorker, projectRoot } from "../../scripts/build/worker.ts";
import { ControlClient } from "../../scripts/client/control-client.ts";
import { requirePrograms } from "../../scripts/local/debian-packages.ts";
import { startWorkerd } from "../../scripts/local/workerd.ts";
import buildForTests from "../helpers/build-worker.ts";
import { startRedis } from "../helpers/redis.ts";
import { startUpstashFront } from "../helpers/upstash-front.ts";
import { cpuSeconds } from "./cpu.ts";
import { measure, median, type Measurement } from "./load.ts";
import { benchConfinement, printConfinement } from "./confinement.ts";
import { benchDeploys, printDeploys } from "./deploy.ts";
import { benchExecutable, printExecutable } from "./executable.ts";
import { benchFleet, printFleet } from "./fleet.ts";
import { startNginx, type Nginx } from "./nginx.ts";
import { benchLinks, printLinks } from "./links.ts";
import { benchPages, printPages } from "./pages.ts";
import { benchProjects, printProjects } from "./projects.ts";
import { benchTunnel, printTunnel } from "./tunnel.ts";

/**
 * What routing costs: the built Worker against a Worker that only fetches, both in bare workerd over the same backend,
 * alternating within one run, so that a noisy machine is noisy for all of them. Ratios count, not absolute figures: by
 * throughput, and by the processor time of the proxy, which says the same on a machine that others use, too.
 *
 * `npm run bench routing` stops after this part.
 */

const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 5);
const SECONDS = Number(process.env["BENCH_SECONDS"] ?? 3);
const CONNECTIONS = [16, 64];
const PART_NAMES = [
  "routing",
  "pages",
  "tunnel",
  "links",
  "executable",
  "deploys",
  "fleet",
  "confinement",
  "projects",
] as const;
/** `npm run bench -- tunnel` runs that part alone and leaves the results file as it is. */
const PARTS = process.argv.slice(2);
for (const part of PARTS)
  if (!PART_NAMES.some((name) => name === part))
    throw new Error(`There is no part "${part}"; there are ${PART_NAMES.join(", ")}.`);
const CONTROL_TOKEN = "control-token-for-the-bench";

requirePrograms([
  { program: "wrk", package: "wrk" },
  { program: "nginx", package: "nginx-light" },
  { program: "redis-server", package: "redis-server" },
]);

const directory = await mkdtemp(join(tmpdir(), "signalbox-bench-"));
const cleanUps: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })];
try {
  await buildForTests();
  await bench();
} finally {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
}

async function bench(): Promise<void> {
  const nginx = await startNginx();
  cleanUps.push(() => nginx.stop());
  let results = {};
  const add = async (more: object): Promise<void> => {
    results = { ...results, ...more };
    if (PARTS.length === 0) await save(results);
  };
  if (wants("routing")) await add(await benchRouting(nginx));
  if (wants("pages")) {
    const pages = await benchPages({ directory, rounds: ROUNDS, seconds: SECONDS });
    printPages(pages);
    await add({ pages });
  }
  const runner =
    wants("tunnel") || wants("links") || wants("executable")
      ? await buildExecutable(await bundleRunner(directory), directory)
      : "";
  if (wants("tunnel")) {
    const tunnel = await benchTunnel({ nginx, runner, directory, rounds: ROUNDS, seconds: SECONDS });
    printTunnel(tunnel);
    await add({ tunnel });
  }
  if (wants("links")) {
    const links = await benchLinks({ nginx, runner, rounds: ROUNDS });
    printLinks(links);
    await add({ links });
  }
  if (wants("executable")) {
    const executable = await benchExecutable(runner, directory);
    printExecutable(executable);
    await add({ executable });
  }
  if (wants("deploys")) {
    const deploys = await benchDeploys();
    printDeploys(deploys);
    await add({ deploys });
  }
  if (wants("fleet")) {
    const fleet = await benchFleet();
    printFleet(fleet);
    await add({ fleet });
  }
  if (wants("confinement")) {
    const confinement = await benchConfinement({ rounds: ROUNDS, seconds: SECONDS });
    printConfinement(confinement);
    await add({ confinement });
  }
  if (wants("projects")) {
    const projects = await benchProjects();
    printProjects(projects);
    await add({ projects });
  }
}

function wants(part: (typeof PART_NAMES)[number]): boolean {
  return PARTS.length === 0 || PARTS.includes(part);
}

async function benchRouting(nginx: Nginx): Promise<object> {
  const backend = `http://127.0.0.1:${nginx.backendPort}`;
  const redis = await startRedis();
  cleanUps.push(() => redis.stop());
  const front = await startUpstashFront({ redisPort: redis.port, token: "token-for-the-bench" });
  cleanUps.push(() => front.close());

  const passThrough = join(directory, "pass-through.js");
  await writeFile(
    passThrough,
    `const backend = ${JSON.stringify(backend)};
export class AppController {} export class EmbeddedStore {} export class RunnerHub {}
export default { fetch(request) { const url = new URL(request.url); return fetch(backend + url.pathname + url.search, request); } };`,
  );
  const worker = await buildWorker(directory);
  const plain = await startWorkerd({
    worker: passThrough,
    stateDirectory: join(directory, "plain"),
    port: 0,
    settings: {},
    stdout: "ignore",
  });
  cleanUps.push(() => plain.stop());
  const signalbox = await startWorkerd({
    worker,
    stateDirectory: join(directory, "state"),
    port: 0,
    // As in production but for the addresses: Upstash over HTTP, tables that live five seconds.
    settings: {
      CONTROL_TOKEN,
      PULSE_RAILWAY_INTERNAL_TOKEN: "internal-token-for-the-bench",
      ALLOW_PRIVATE_TARGETS: "1",
      TRUST_CLIENT_ADDRESS: "0",
      UPSTASH_REDIS_REST_URL: front.url,
      UPSTASH_REDIS_REST_TOKEN: "token-for-the-bench",
    },
    stdout: "ignore",
  });
  cleanUps.push(() => signalbox.stop());
  const origin = `http://127.0.0.1:${signalbox.port}`;
  await deployBackend(new ControlClient(origin, CONTROL_TOKEN), backend);

  // wrk sends a given Host only in this spelling.
  const { pid } = signalbox;
  const pinned = `${origin}/?pulse_deployment=v1`;
  const candidates: Candidate[] = [
    { name: "pass-through Worker (baseline)", url: `http://127.0.0.1:${plain.port}/`, pid: plain.pid },
    { name: "Signalbox, active", url: `${origin}/`, headers: { Host: "plain.test" }, pid },
    { name: "Signalbox, pinned", url: pinned, headers: { Host: "plain.test" }, pid },
    { name: "Signalbox, canary at 50 %", url: `${origin}/`, headers: { Host: "canary.test" }, pid },
    { name: "nginx as a plain proxy", url: `http://127.0.0.1:${nginx.proxyPort}/`, pid: null },
  ];
  for (const candidate of candidates) await measure({ ...candidate, connections: 64, seconds: 2 });
  for (const candidate of candidates) await measure({ ...candidate, connections: 64, seconds: 2 });

  const rows: Row[] = [];
  let requests = 0;
  const commandsBefore = front.commands();
  for (const connections of CONNECTIONS) {
    const runs = candidates.map((): Run[] => []);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, candidate] of candidates.entries()) {
        const cpuUsed = (): Promise<number> =>
          candidate.pid === null ? Promise.resolve(Number.NaN) : cpuSeconds(candidate.pid);
        const cpuBefore = await cpuUsed();
        const run = await measure({ ...candidate, connections, seconds: SECONDS });
        const cpu = (await cpuUsed()) - cpuBefore;
        if (run.errors > 0)
          throw new Error(`${candidate.name}: ${run.errors} errors; that is no measurement.`);
        runs[index]?.push({ ...run, cpuMicroseconds: (cpu * 1e6) / (run.requestsPerSecond * SECONDS) });
        if (candidate.name.startsWith("Signalbox")) requests += run.requestsPerSecond * SECONDS;
      }
    }
    for (const [index, candidate] of candidates.entries()) {
      rows.push(summary(candidate.name, connections, runs[index] ?? [], runs[0] ?? []));
    }
  }
  const storeCommandsPerMillion = ((front.commands() - commandsBefore) / requests) * 1e6;
  const bundle = await readFile(worker);
  const routing = {
    cores: cpus().length,
    rounds: ROUNDS,
    secondsPerRun: SECONDS,
    rows,
    storeCommandsPerMillionRequests: Math.round(storeCommandsPerMillion),
    workerBytes: bundle.length,
    workerGzippedBytes: gzipSync(bundle).length,
  };
  print(routing);
  return routing;
}

async function save(results: object): Promise<void> {
  await mkdir(join(projectRoot, "bench"), { recursive: true });
  await writeFile(join(projectRoot, "bench/results.json"), `${JSON.stringify(results, null, 2)}\n`);
}

async function deployBackend(control: ControlClient, backend: string): Promise<void> {
  const target = { kind: "url", url: backend };
  for (const [app, canary] of [
    ["plain", false],
    ["canary", true],
  ] as const) {
    await control.call("PUT", `/apps/${app}`, { hosts: [`${app}.test`], contract: "none" });
    await control.call("POST", `/apps/${app}/deployments`, { id: "v1", target });
    await control.until(app, "v1", ["active"], 20_000);
    if (!canary) continue;
    await control.call("POST", `/apps/${app}/deployments`, { id: "v2", target, promote: false });
    await control.until(app, "v2", ["ready"], 20_000);
    await control.call("PUT", `/apps/${app}/canary`, { id: "v2", weight: 50 });
  }
}

interface Candidate {
  name: string;
  url: string;
  headers?: Record<string, string>;
  /** Of the proxy; null where its processor time isn't of interest. */
  pid: number | null;
}

interface Run extends Measurement {
  /** Processor time of the proxy for one request. */
  cpuMicroseconds: number;
}

interface Row {
  candidate: string;
  connections: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** Median over rounds of this run's throughput to the baseline's in the same round. */
  ratioToBaseline: number;
  cpuMicroseconds: number | null;
  /** Median over rounds of the baseline's processor time for a request to this run's. */
  cpuRatioToBaseline: number | null;
}

function summary(candidate: string, connections: number, runs: Run[], baseline: Run[]): Row {
  const ratios = runs.map(
    (run, round) => run.requestsPerSecond / (baseline[round]?.requestsPerSecond ?? Number.NaN),
  );
  return {
    candidate,
    connections,
    requestsPerSecond: Math.round(median(runs.map((run) => run.requestsPerSecond))),
    p50Ms: round2(median(runs.map((run) => run.p50Ms))),
    p99Ms: round2(median(runs.map((run) => run.p99Ms))),
    ratioToBaseline: round2(median(ratios)),
    cpuMicroseconds: known(median(runs.map((run) => run.cpuMicroseconds))),
    cpuRatioToBaseline: known(
      median(
        runs.map((run, round) => (baseline[round]?.cpuMicroseconds ?? Number.NaN) / run.cpuMicroseconds),
      ),
    ),
  };
}

function print(results: {
  rows: Row[];
  storeCommandsPerMillionRequests: number;
  workerBytes: number;
  workerGzippedBytes: number;
}): void {
  console.log(
    "candidate                        connections   req/s   p50 ms   p99 ms   to baseline   µs CPU   to baseline",
  );
  for (const row of results.rows) {
    console.log(
      row.candidate.padEnd(32),
      String(row.connections).padStart(11),
      String(row.requestsPerSecond).padStart(7),
      row.p50Ms.toFixed(2).padStart(8),
      row.p99Ms.toFixed(2).padStart(8),
      row.ratioToBaseline.toFixed(2).padStart(13),
      (row.cpuMicroseconds?.toFixed(1) ?? "").padStart(8),
      (row.cpuRatioToBaseline?.toFixed(2) ?? "").padStart(13),
    );
  }
  console.log(`Store commands per million requests: ${results.storeCommandsPerMillionRequests}`);
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`;
  console.log(`Worker bundle: ${kib(results.workerBytes)}, ${kib(results.workerGzippedBytes)} gzipped`);
}

function known(value: number): number | null {
  return Number.isNaN(value) ? null : round2(value);
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}
