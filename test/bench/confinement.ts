import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConfinementSettings } from "../../runner/confinement/settings.ts";
import { UnconnectedRunner } from "../helpers/unconnected-runner.ts";
import { measure, median } from "./load.ts";

const STARTS = 5;
const CONNECTIONS = 16;
const LARGE_MIB = 64;

interface Candidate {
  name: string;
  settings: Partial<ConfinementSettings>;
}

const candidates: Candidate[] = [
  { name: "none (baseline)", settings: { level: "none" } },
  { name: "user", settings: { level: "user" } },
  { name: "sandbox, shared network", settings: { level: "sandbox", sharesNetwork: true } },
  { name: "sandbox, own network", settings: { level: "sandbox" } },
  // Where there is no perl.
  { name: "the same, large relay", settings: { level: "sandbox", usesPerl: false } },
];

const guest = `import { createServer } from "node:http";
const large = Buffer.alloc(${LARGE_MIB} * 1024 ** 2);
createServer((request, response) => response.end(request.url === "/large" ? large : "hello"))
  .listen(process.env.PORT, process.env.HOST);
`;

export interface ConfinementRow {
  candidate: string;
  /** Median from its request to the first answer, of a deployment whose source is there. */
  startMs: number;
  requestsPerSecond: number;
  /** Median over rounds, to the baseline in the same round. */
  requestsRatio: number;
  mibPerSecond: number;
  transferRatio: number;
}

/** What keeping a guest costs: the same small server at each level, by turns. */
export async function benchConfinement(options: {
  rounds: number;
  seconds: number;
}): Promise<ConfinementRow[]> {
  const worlds: World[] = [];
  try {
    for (const candidate of candidates) worlds.push(await World.open(candidate));
    for (let turn = 0; turn < STARTS; turn++) for (const world of worlds) await world.deploy();
    for (let round = 0; round <= options.rounds; round++)
      for (const world of worlds) await world.run(options.seconds, round > 0);
    return worlds.map((world) => world.row(worlds[0] ?? world));
  } finally {
    for (const world of worlds) await world.close();
  }
}

export function printConfinement(rows: readonly ConfinementRow[]): void {
  console.log("\nguests kept in               start ms     req/s   to baseline     MiB/s   to baseline");
  for (const row of rows)
    console.log(
      row.candidate.padEnd(26),
      String(row.startMs).padStart(10),
      String(row.requestsPerSecond).padStart(9),
      row.requestsRatio.toFixed(2).padStart(13),
      String(row.mibPerSecond).padStart(9),
      row.transferRatio.toFixed(2).padStart(13),
    );
}

class World {
  readonly #name: string;
  readonly #root: string;
  readonly #runner: UnconnectedRunner;
  readonly #sha256: string;
  readonly #starts: number[] = [];
  readonly #requests: number[] = [];
  readonly #transfers: number[] = [];
  #port = 0;

  private constructor(name: string, root: string, runner: UnconnectedRunner, sha256: string) {
    this.#name = name;
    this.#root = root;
    this.#runner = runner;
    this.#sha256 = sha256;
  }

  static async open({ name, settings }: Candidate): Promise<World> {
    const root = await mkdtemp(join(tmpdir(), "signalbox-bench-"));
    await chmod(root, 0o711);
    const runner = await UnconnectedRunner.start({ root, confinement: settings });
    const world = new World(name, root, runner, await runner.upload({ "server.mjs": guest }));
    await world.deploy();
    const { confinement } = await runner.status("bench/v0");
    const network = settings.level !== "sandbox" || settings.sharesNetwork === true ? "shared" : "own";
    if (confinement?.level !== settings.level || confinement?.network !== network)
      throw new Error(`This host doesn't offer ${name}: ${confinement?.why}`);
    world.#starts.length = 0;
    return world;
  }

  async deploy(): Promise<void> {
    const key = `bench/v${this.#starts.length}`;
    await this.#runner.json("DELETE", `/deployments/${key}`);
    const startedAt = performance.now();
    await this.#runner.put(key, { source: { sha256: this.#sha256 }, start: "node server.mjs" });
    const { port, reason } = await this.#runner.reaches(key, "running", "failed");
    if (reason !== null) throw new Error(reason);
    this.#starts.push(performance.now() - startedAt);
    this.#port = port ?? 0;
  }

  async run(seconds: number, counts: boolean): Promise<void> {
    const url = `http://127.0.0.1:${this.#port}/`;
    const run = await measure({ url, connections: CONNECTIONS, seconds });
    if (run.errors > 0) throw new Error(`${this.#name}: ${run.errors} errors; that is no measurement.`);
    const startedAt = performance.now();
    const { byteLength } = await (await fetch(`${url}large`)).arrayBuffer();
    if (!counts) return;
    this.#requests.push(run.requestsPerSecond);
    this.#transfers.push((byteLength / 1024 ** 2 / (performance.now() - startedAt)) * 1_000);
  }

  row(baseline: World): ConfinementRow {
    const ratio = (own: number[], others: number[]): number =>
      median(own.map((value, round) => value / (others[round] ?? Number.NaN)));
    return {
      candidate: this.#name,
      startMs: Math.round(median(this.#starts)),
      requestsPerSecond: Math.round(median(this.#requests)),
      requestsRatio: ratio(this.#requests, baseline.#requests),
      mibPerSecond: Math.round(median(this.#transfers)),
      transferRatio: ratio(this.#transfers, baseline.#transfers),
    };
  }

  async close(): Promise<void> {
    await this.#runner.stop();
    await rm(this.#root, { recursive: true, force: true });
  }
}
