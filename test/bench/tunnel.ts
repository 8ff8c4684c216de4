import { writeFile } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import { startWorkerd } from "../../scripts/local/workerd.ts";
import { putApp } from "../helpers/deploy.ts";
import { archiveOf } from "../helpers/archive.ts";
import { startRunner } from "../helpers/runner.ts";
import { deploy, uploadSource } from "../helpers/runner-deployments.ts";
import { startTestStack } from "../helpers/stack.ts";
import { measure, median, type Measurement } from "./load.ts";
import { BIG_BYTES, type Nginx } from "./nginx.ts";
import { startSshTunnel } from "./ssh.ts";

const CONNECTIONS = 64;
const EDGE = "the edge to a URL";
const TUNNEL = "the edge and the tunnel";
const CEILING = "a Durable Object that answers by itself";

export interface TunnelResults {
  rows: TunnelRow[];
  /** Medians of the ratios within each round. */
  requestsToCeiling: number;
  bytesToEdge: number;
  leftOut: string[];
}

interface TunnelRow {
  candidate: string;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** Of one stream; null where there is no body to speak of. */
  megabytesPerSecond: number | null;
}

interface Candidate {
  name: string;
  url: string;
  headers?: Record<string, string>;
  answersBig: boolean;
}

interface Run extends Measurement {
  megabytesPerSecond: number | null;
}

/** What the tunnel costs, beside other ways to a backend that dials out. The backend is the same nginx for all. */
export async function benchTunnel(options: {
  nginx: Nginx;
  /** The executable. */
  runner: string;
  directory: string;
  rounds: number;
  seconds: number;
}): Promise<TunnelResults> {
  const { nginx, runner: executable, directory, rounds, seconds } = options;
  const cleanUps: (() => Promise<unknown>)[] = [];
  try {
    const candidates: Candidate[] = [];
    const leftOut: string[] = [];
    const stack = await startTestStack({ settings: { ROUTE_TTL_MS: "5000" } });
    cleanUps.push(() => stack.stop());
    const runner = await startRunner(stack, { id: "bench", command: [executable] });
    cleanUps.push(() => runner.remove());
    const source = await uploadSource(stack, "bench", await archiveOf({ "README.md": "A bench.\n" }));
    for (const app of ["direct", "tunnelled"]) {
      await putApp(stack, app, { hosts: [`${app}.test`], contract: "none" });
    }
    const target = { kind: "url", url: `http://127.0.0.1:${nginx.backendPort}` };
    await stack.control.call("POST", "/apps/direct/deployments", { id: "v1", target });
    await deploy(stack, "tunnelled", "v1", {
      sha256: source,
      runnerId: "bench",
      start: nginx.backendCommand,
    });
    for (const [app, name] of [
      ["direct", EDGE],
      ["tunnelled", TUNNEL],
    ] as const) {
      await stack.control.until(app, "v1", ["active"], 30_000);
      candidates.push({ name, url: stack.origin, headers: { Host: `${app}.test` }, answersBig: true });
    }
    const ssh = await startSshTunnel(nginx.remotePort, nginx.backendPort);
    if ("leftOut" in ssh) leftOut.push(`ssh -R behind nginx: ${ssh.leftOut}`);
    else {
      cleanUps.push(() => ssh.stop());
      const url = `http://127.0.0.1:${nginx.remoteProxyPort}`;
      candidates.push({ name: "ssh -R behind nginx", url, answersBig: true });
    }
    candidates.push({ name: "nginx", url: `http://127.0.0.1:${nginx.proxyPort}`, answersBig: true });
    const ceiling = await startCeiling(directory);
    cleanUps.push(() => ceiling.stop());
    candidates.push({ name: CEILING, url: `http://127.0.0.1:${ceiling.port}`, answersBig: false });

    for (const candidate of candidates) await run(candidate, 2);
    const runs = new Map<string, Run[]>(candidates.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const candidate of candidates) runs.get(candidate.name)?.push(await run(candidate, seconds));
    }
    const ratios = (name: string, to: string, of: (run: Run) => number): number => {
      const bases = runs.get(to) ?? [];
      const all = runs.get(name) ?? [];
      return round2(median(all.map((one, at) => of(one) / (bases.map(of)[at] ?? Number.NaN))));
    };
    return {
      rows: candidates.map(({ name }) => summary(name, runs.get(name) ?? [])),
      requestsToCeiling: ratios(TUNNEL, CEILING, (one) => one.requestsPerSecond),
      bytesToEdge: ratios(TUNNEL, EDGE, (one) => one.megabytesPerSecond ?? Number.NaN),
      leftOut,
    };
  } finally {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  }
}

export function printTunnel({ rows, requestsToCeiling, bytesToEdge, leftOut }: TunnelResults): void {
  console.log(
    `\ncandidate, ${CONNECTIONS} connections               req/s   p50 ms   p99 ms   MB/s, 1 stream`,
  );
  for (const row of rows) {
    console.log(
      row.candidate.padEnd(40),
      String(row.requestsPerSecond).padStart(6),
      row.p50Ms.toFixed(2).padStart(8),
      row.p99Ms.toFixed(2).padStart(8),
      (row.megabytesPerSecond === null ? "–" : row.megabytesPerSecond.toFixed(0)).padStart(16),
    );
  }
  console.log(`The tunnel's requests/s to that Durable Object's: ${requestsToCeiling.toFixed(2)}`);
  console.log(`The tunnel's MB/s to the edge's alone: ${bytesToEdge.toFixed(2)}`);
  for (const what of leftOut) console.log(`Left out: ${what}.`);
}

async function run(candidate: Candidate, seconds: number): Promise<Run> {
  const measured = await measure({
    url: `${candidate.url}/`,
    connections: CONNECTIONS,
    seconds,
    ...(candidate.headers ? { headers: candidate.headers } : {}),
  });
  if (measured.errors > 0)
    throw new Error(`${candidate.name}: that is no measurement: ${measured.errorText}.`);
  return { ...measured, megabytesPerSecond: candidate.answersBig ? await download(candidate) : null };
}

async function download({ name, url, headers = {} }: Candidate): Promise<number> {
  const startedAt = performance.now();
  const bytes = await new Promise<number>((resolve, reject) => {
    get(`${url}/big`, { headers, agent: false }, (answer) => {
      let received = 0;
      answer.on("data", (chunk: Buffer) => (received += chunk.length));
      answer.on("end", () => resolve(received)).on("error", reject);
    }).on("error", reject);
  });
  if (bytes !== BIG_BYTES) throw new Error(`${name} answered ${bytes} bytes instead of ${BIG_BYTES}.`);
  return bytes / 1e6 / ((performance.now() - startedAt) / 1_000);
}

/** As much as one Durable Object can answer without doing anything. */
async function startCeiling(directory: string): ReturnType<typeof startWorkerd> {
  const worker = join(directory, "ceiling.js");
  await writeFile(
    worker,
    `export class AppController {} export class EmbeddedStore {}
export class RunnerHub { fetch() { return new Response("hello from the backend\\n"); } }
export default { fetch(request, env) { return env.RUNNER_HUB.get(env.RUNNER_HUB.idFromName("one")).fetch(request); } };`,
  );
  return startWorkerd({
    worker,
    stateDirectory: join(directory, "ceiling"),
    port: 0,
    settings: {},
    stdout: "ignore",
  });
}

function summary(candidate: string, runs: Run[]): TunnelRow {
  const of = (value: (run: Run) => number): number => round2(median(runs.map(value)));
  const rates = runs.map((run) => run.megabytesPerSecond).filter((rate) => rate !== null);
  return {
    candidate,
    requestsPerSecond: Math.round(of((run) => run.requestsPerSecond)),
    p50Ms: of((run) => run.p50Ms),
    p99Ms: of((run) => run.p99Ms),
    megabytesPerSecond: rates.length === 0 ? null : round2(median(rates)),
  };
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}
