import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "undici";
import { freePort } from "../../scripts/local/free-port.ts";
import { GuardedProcess } from "../../scripts/local/guarded-process.ts";
import { startWorkerd } from "../../scripts/local/workerd.ts";
import { change, deployUrl, putApp } from "../helpers/deploy.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";
import { cpuSeconds } from "./cpu.ts";
import { measure, median } from "./load.ts";

/**
 * What contract `edge` costs beside `none` and a Worker that only fetches: processor time of the proxy for a document, for a
 * file of a page, and for a 404 that other versions are asked about.
 */
export interface PagesResults {
  rows: PagesRow[];
  missing: { what: string; cpuMicroseconds: number; toContractNone: number }[];
}

interface PagesRow {
  what: string;
  bareMicroseconds: number;
  noneMicroseconds: number;
  edgeMicroseconds: number;
  /** Medians over rounds of ratios within a round. */
  edgeToNone: number;
  edgeToBare: number;
}

const CONNECTIONS = 16;
/** Within what one app may have asked about 404s at once. */
const MISSING_REQUESTS = 200;

const DOCUMENT = {
  Accept: "text/html,application/xhtml+xml,*/*;q=0.8",
  "Sec-Fetch-Dest": "document",
  "Sec-Fetch-Mode": "navigate",
  "Sec-Fetch-Site": "none",
};
const SCRIPT = {
  Accept: "*/*",
  "Sec-Fetch-Dest": "script",
  "Sec-Fetch-Mode": "no-cors",
  "Sec-Fetch-Site": "same-origin",
  Cookie: "signalbox-page=v2",
};
const GZIP = { "Accept-Encoding": "gzip, br" };
const KINDS = [
  { what: "document, 5 KB", path: "/5.html", headers: DOCUMENT },
  { what: "document, 5 KB, gzip", path: "/5.html", headers: { ...DOCUMENT, ...GZIP } },
  { what: "document, 200 KB", path: "/200.html", headers: DOCUMENT },
  { what: "document, 200 KB, gzip", path: "/200.html", headers: { ...DOCUMENT, ...GZIP } },
  { what: "script, 5 KB", path: "/5.js", headers: SCRIPT },
  { what: "script, 200 KB", path: "/200.js", headers: SCRIPT },
];

export async function benchPages(options: {
  directory: string;
  rounds: number;
  seconds: number;
}): Promise<PagesResults> {
  const { directory, rounds, seconds } = options;
  const cleanUps: (() => Promise<unknown>)[] = [];
  try {
    const backend = await startBackend();
    cleanUps.push(() => backend.stop());
    const bare = await startBare(directory, backend.url);
    cleanUps.push(() => bare.stop());
    const stack = await startTestStack({ settings: { ROUTE_TTL_MS: "5000" } });
    cleanUps.push(() => stack.stop());
    for (const contract of ["none", "edge"]) {
      await putApp(stack, contract, { hosts: [`${contract}.test`], contract });
      await deployUrl(stack, contract, "v2", backend.url);
    }
    const candidates = [
      { origin: `http://127.0.0.1:${bare.port}`, host: {}, pid: bare.pid },
      { origin: stack.origin, host: { Host: "none.test" }, pid: stack.workerd.pid },
      { origin: stack.origin, host: { Host: "edge.test" }, pid: stack.workerd.pid },
    ];
    const rows: PagesRow[] = [];
    for (const { what, path, headers } of KINDS) {
      const runs: number[][] = candidates.map(() => []);
      // The first round warms up.
      for (let round = 0; round <= rounds; round++) {
        for (const [index, { origin, host, pid }] of candidates.entries()) {
          const before = await cpuSeconds(pid);
          const run = await measure({
            url: origin + path,
            connections: CONNECTIONS,
            seconds,
            headers: { ...headers, ...host },
          });
          if (run.errors > 0) throw new Error(`${what}: that is no measurement: ${run.errorText}.`);
          const cpu = (await cpuSeconds(pid)) - before;
          if (round > 0) runs[index]?.push((cpu * 1e6) / (run.requestsPerSecond * seconds));
        }
      }
      const [bareRuns = [], noneRuns = [], edgeRuns = []] = runs;
      rows.push({
        what,
        bareMicroseconds: round1(median(bareRuns)),
        noneMicroseconds: round1(median(noneRuns)),
        edgeMicroseconds: round1(median(edgeRuns)),
        edgeToNone: ratio(edgeRuns, noneRuns),
        edgeToBare: ratio(edgeRuns, bareRuns),
      });
    }
    return { rows, missing: await benchMissing(stack, backend, rounds) };
  } finally {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  }
}

/** Each round has an app of its own, as an app's 404s may cost further requests only now and then. */
async function benchMissing(
  stack: TestStack,
  backend: Backend,
  rounds: number,
): Promise<PagesResults["missing"]> {
  const kinds = [
    { what: "404 with contract none", app: "missing-none", path: "/5.js", status: 404 },
    { what: "404 that another version has", app: "missing-edge", path: "/5.js", status: 200 },
    {
      what: "404 that no version has, asked once a minute",
      app: "missing-edge",
      path: "/no.js",
      status: 404,
    },
  ];
  const runs: number[][] = kinds.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const contract of ["none", "edge"]) {
      const app = `missing-${contract}-${round}`;
      await putApp(stack, app, { hosts: [`${app}.test`], contract });
      await deployUrl(stack, app, "v2", backend.emptyUrl);
      await deployUrl(stack, app, "v1", backend.url, false);
      // Its pages may be open, and new visitors don't get there.
      await change(stack, "PUT", `/apps/${app}/canary`, { id: "v1", weight: 0 });
    }
    for (const [index, { what, app, path, status }] of kinds.entries()) {
      const host = `${app}-${round}.test`;
      const pool = new Pool(stack.origin, { connections: CONNECTIONS });
      try {
        const ask = async (): Promise<void> => {
          const answer = await pool.request({ path, method: "GET", headers: { ...SCRIPT, host } });
          await answer.body.dump();
          if (answer.statusCode !== status) throw new Error(`${what}: ${answer.statusCode}.`);
        };
        await ask();
        const before = await cpuSeconds(stack.workerd.pid);
        const asked = Array.from({ length: CONNECTIONS }, async (_, at) => {
          for (let count = at; count < MISSING_REQUESTS; count += CONNECTIONS) await ask();
        });
        await Promise.all(asked);
        const cpu = (await cpuSeconds(stack.workerd.pid)) - before;
        if (round > 0) runs[index]?.push((cpu * 1e6) / MISSING_REQUESTS);
      } finally {
        await pool.close();
      }
    }
  }
  return kinds.map(({ what }, index) => ({
    what,
    cpuMicroseconds: round1(median(runs[index] ?? [])),
    toContractNone: ratio(runs[index] ?? [], runs[0] ?? []),
  }));
}

export function printPages({ rows, missing }: PagesResults): void {
  console.log("\nµs CPU of the proxy               bare     none     edge   edge to none   edge to bare");
  for (const row of rows) {
    console.log(
      row.what.padEnd(28),
      row.bareMicroseconds.toFixed(1).padStart(9),
      row.noneMicroseconds.toFixed(1).padStart(8),
      row.edgeMicroseconds.toFixed(1).padStart(8),
      row.edgeToNone.toFixed(2).padStart(14),
      row.edgeToBare.toFixed(2).padStart(14),
    );
  }
  for (const { what, cpuMicroseconds, toContractNone } of missing)
    console.log(
      what.padEnd(46),
      cpuMicroseconds.toFixed(1).padStart(8),
      toContractNone.toFixed(2).padStart(14),
    );
}

interface Backend {
  url: string;
  /** The same without any file. */
  emptyUrl: string;
  stop(): Promise<void>;
}

/** nginx (Debian's package) with documents and scripts, which it compresses for who takes that. */
async function startBackend(): Promise<Backend> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-pages-"));
  const [port, emptyPort] = [await freePort(), await freePort()];
  const root = join(directory, "root");
  await mkdir(root);
  for (const [name, bytes] of [
    ["5", 5_000],
    ["200", 200_000],
  ] as const) {
    await writeFile(join(root, `${name}.html`), documentOf(bytes));
    await writeFile(
      join(root, `${name}.js`),
      textOf(bytes, (at) => `console.log("line ${at} of a script");\n`),
    );
  }
  const configFile = join(directory, "nginx.conf");
  await writeFile(
    configFile,
    `daemon off; master_process off; worker_processes 1; pid ${directory}/pid; error_log stderr crit;
events { worker_connections 2048; }
http {
  access_log off; keepalive_requests 1000000; keepalive_timeout 300s; sendfile on;
  types { text/html html; text/javascript js; }
  gzip on; gzip_comp_level 1; gzip_types text/javascript;
  client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
  server { listen 127.0.0.1:${port} backlog=1024; root ${root}; location = / { return 200 "here"; } }
  server { listen 127.0.0.1:${emptyPort} backlog=1024; location = / { return 200 "here"; } location / { return 404; } }
}
`,
  );
  const guarded = new GuardedProcess("nginx", ["-c", configFile, "-p", directory], {
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
  return {
    url: `http://127.0.0.1:${port}`,
    emptyUrl: `http://127.0.0.1:${emptyPort}`,
    async stop() {
      await guarded.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function documentOf(bytes: number): string {
  const text = textOf(bytes, (at) => `<p>Paragraph ${at} of a page, with <a href="/${at}">a link</a>.</p>\n`);
  return `<!doctype html>\n<html lang="en"><head><title>A page</title></head><body>\n${text}</body></html>\n`;
}

function textOf(bytes: number, line: (at: number) => string): string {
  let text = "";
  for (let at = 0; text.length < bytes; at++) text += line(at);
  return text;
}

async function startBare(directory: string, backend: string): ReturnType<typeof startWorkerd> {
  const worker = join(directory, "bare.js");
  await writeFile(
    worker,
    `const backend = ${JSON.stringify(backend)};
export class AppController {} export class EmbeddedStore {} export class RunnerHub {} export class PageHub {} export class MetricsHub {} export class ChangeHub {}
export default { fetch(request) { const url = new URL(request.url); return fetch(backend + url.pathname + url.search, request); } };`,
  );
  return startWorkerd({
    worker,
    stateDirectory: join(directory, "bare"),
    port: 0,
    settings: {},
    stdout: "ignore",
  });
}

function ratio(runs: number[], to: number[]): number {
  return Math.round(median(runs.map((run, round) => run / (to[round] ?? Number.NaN))) * 100) / 100;
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}
