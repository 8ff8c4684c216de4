import { loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { BuildEvent } from "../../functions/protocol/builds.ts";
import { networkVariables, pick } from "../../runner/processes/environment.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { BuildsOf } from "../helpers/builds.ts";
import { readEvents } from "../helpers/event-stream.ts";
import { residentMiB } from "../helpers/program.ts";
import { type RunnerProcess, startRunner } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, type TestStack, until } from "../helpers/stack.ts";
import { measure, median } from "./load.ts";

const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 3);
const SECONDS = Number(process.env["BENCH_SECONDS"] ?? 3);
const UPDATES = 3_000;
const CALM_UPDATES = 200;
const CALM_PAUSE_MS = 20;
const EDIT_PAUSE_MS = 500;
const IDLE_PROJECTS = 20;
const SERVERS = 5;
const STEPS = ["agent", "install", "start"] as const;
const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
/** Of the template agent: Vite and React, the starter that installs. */
const PROMPT = "a landing page for a bakery";

/** Packages come from the registry that this machine uses. */
const network = pick(process.env, networkVariables);

const caches = ["no cache", "cold", "warm"] as const;

export interface ProjectResults {
  /** The machine's, of one minute, as this part began. */
  load: number;
  /** From the creation to the first answer of the preview; medians, in milliseconds. */
  previews: {
    cache: (typeof caches)[number];
    steps: Record<string, number>;
    totalMs: number;
    ratio: number;
  }[];
  events: { perSecond: number; p50Ms: number; p99Ms: number };
  /** By the preview, with the project's page edited twice a second, and without; the dev server itself is the baseline. */
  requests: { way: string; perSecond: number; p50Ms: number; p99Ms: number; ratio: number }[];
  /** Resident memory of the runner, and of all that it started, in MiB. */
  memory: { state: string; runner: number; started: number }[];
}

let runners = 0;

export async function benchProjects(): Promise<ProjectResults> {
  const [load = 0] = loadavg();
  const stack = await startTestStack();
  try {
    return {
      load: Math.round(load * 10) / 10,
      previews: await previews(stack),
      ...(await withRunner(stack, {}, async (runner) => ({
        memory: await memory(stack, runner),
        requests: await requests(stack, runner),
        events: await events(stack),
      }))),
    };
  } finally {
    await stack.stop();
  }
}

export function printProjects({ load, previews, events, requests, memory }: ProjectResults): void {
  console.log(`\nPrompt to preview with template, Vite and React, median of ${ROUNDS}, in ms; load ${load}`);
  for (const { cache, steps, totalMs, ratio } of previews) {
    const parts = STEPS.map((step) => `${step} ${steps[step]}`).join(", ");
    console.log(`${cache.padEnd(9)} ${totalMs} in all: ${parts}; ${ratio} of no cache`);
  }
  console.log(
    `\nEvents from agent to client: ${events.perSecond}/s of ${UPDATES}; one at a time p50 ${events.p50Ms} ms, p99 ${events.p99Ms} ms`,
  );
  console.log("\nRequests of a Vite page, 8 connections");
  for (const { way, perSecond, p50Ms, p99Ms, ratio } of requests)
    console.log(
      `${way.padEnd(34)} ${perSecond}/s, p50 ${p50Ms} ms, p99 ${p99Ms} ms, ${ratio} of the baseline`,
    );
  console.log("\nResident memory in MiB");
  for (const { state, runner, started } of memory)
    console.log(`${state.padEnd(34)} runner ${runner}, what it started ${started}`);
}

async function withRunner<T>(
  stack: TestStack,
  env: Record<string, string>,
  work: (runner: RunnerProcess) => Promise<T>,
): Promise<T> {
  // One with another workspace is another runner.
  const id = `bench-${++runners}`;
  const runner = await startRunner(stack, { id, env: { ...network, RUNNER_AGENT: AGENT, ...env } });
  try {
    return await work(runner);
  } finally {
    for (const slug of await slugs(stack)) await stack.api("DELETE", `/projects/${slug}`);
    await runner.remove();
  }
}

async function slugs(stack: TestStack): Promise<string[]> {
  const { body } = await stack.api("GET", "/projects");
  return (body["projects"] as { slug: string }[]).map(({ slug }) => slug);
}

async function previews(stack: TestStack): Promise<ProjectResults["previews"]> {
  const runs = new Map<string, Run[]>(caches.map((cache) => [cache, []]));
  for (let round = 0; round < ROUNDS; round++) {
    await withRunner(stack, { RUNNER_PACKAGE_CACHE: "0" }, async () => {
      runs.get("no cache")?.push(await fromPrompt(stack));
    });
    // Each round's cold one is a new runner's.
    await withRunner(stack, {}, async () => {
      for (const cache of ["cold", "warm"]) runs.get(cache)?.push(await fromPrompt(stack));
    });
  }
  const totalOf = (cache: string): number => median((runs.get(cache) ?? []).map(({ totalMs }) => totalMs));
  return caches.map((cache) => ({
    cache,
    steps: Object.fromEntries(
      STEPS.map((step) => [
        step,
        Math.round(median((runs.get(cache) ?? []).map(({ steps }) => steps[step] ?? 0))),
      ]),
    ),
    totalMs: Math.round(totalOf(cache)),
    ratio: rounded(totalOf(cache) / totalOf("no cache")),
  }));
}

interface Run {
  steps: Record<string, number>;
  totalMs: number;
}

async function fromPrompt(stack: TestStack): Promise<Run> {
  const begun = performance.now();
  const made = await stack.api("POST", "/projects", { prompt: PROMPT, agent: "template" });
  const slug = String(made.body["slug"]);
  const { id = "" } = (made.body["build"] ?? {}) as { id?: string };
  const told = await new BuildsOf(stack).events(id);
  const failed = told.find((event) => event.type === "state" && event.state === "failed");
  if (failed !== undefined) throw new Error(`The build failed: ${JSON.stringify(failed)}`);
  await stack.api("PATCH", `/projects/${slug}`, { public: true });
  await answers(stack, slug);
  const totalMs = performance.now() - begun;
  const steps = told.flatMap((event) =>
    event.type === "step" && event.status === "done" ? [[event.step, event.ms ?? 0] as const] : [],
  );
  await stack.api("DELETE", `/projects/${slug}/dev-server`);
  return { steps: Object.fromEntries(steps), totalMs };
}

async function answers(stack: TestStack, slug: string): Promise<void> {
  await until(
    () => stack.request(`${slug}.preview.localhost`, "/"),
    ({ status }) => status === 200,
  );
}

async function events(stack: TestStack): Promise<ProjectResults["events"]> {
  const builds = new BuildsOf(stack);
  const { body } = await stack.api("POST", "/projects", { slug: "events" });
  const slug = String(body["slug"]);
  const flood = await stamps(stack, await builds.begin(slug, `stamped ${UPDATES} 0`));
  const first = Math.min(...flood.map(({ sent }) => sent));
  const last = Math.max(...flood.map(({ heard }) => heard));
  const calm = await stamps(stack, await builds.begin(slug, `stamped ${CALM_UPDATES} ${CALM_PAUSE_MS}`));
  const late = calm.map(({ sent, heard }) => heard - sent).sort((one, other) => one - other);
  const at = (share: number): number => rounded(late[Math.floor((late.length - 1) * share)] ?? Number.NaN);
  return {
    perSecond: Math.round((flood.length * 1_000) / (last - first)),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  };
}

/** When an agent sent each update, and when a client of the control API heard it. */
async function stamps(stack: TestStack, id: string): Promise<{ sent: number; heard: number }[]> {
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/builds/${id}/events`, {
    headers: { authorization: `Bearer ${CONTROL_TOKEN}` },
  });
  const found: { sent: number; heard: number }[] = [];
  for await (const { event, data } of readEvents(response)) {
    const heard = performance.timeOrigin + performance.now();
    if (event === "end") break;
    if (event !== "build") continue;
    const { type } = JSON.parse(data) as BuildEvent;
    const sent = type === "tool" ? /stamp:([\d.]+)/.exec(data)?.[1] : undefined;
    if (sent !== undefined) found.push({ sent: Number(sent), heard });
  }
  return found;
}

async function requests(stack: TestStack, runner: RunnerProcess): Promise<ProjectResults["requests"]> {
  const made = await stack.api("POST", "/projects", { prompt: PROMPT, agent: "template", slug: "vite" });
  const { id = "" } = (made.body["build"] ?? {}) as { id?: string };
  await new BuildsOf(stack).events(id);
  await stack.api("PATCH", "/projects/vite", { public: true });
  await answers(stack, "vite");
  const { body } = await stack.api("GET", "/projects/vite");
  const { devServer } = body["runner"] as { devServer: { port: number } };
  const direct = { url: `http://127.0.0.1:${devServer.port}/`, headers: { Host: "localhost" } };
  const preview = { url: `${stack.origin}/`, headers: { Host: "vite.preview.localhost" } };
  const rows: [string, typeof direct, boolean][] = [
    ["the dev server itself (baseline)", direct, false],
    ["the preview", preview, false],
    ["the dev server, page being edited", direct, true],
    ["the preview, page being edited", preview, true],
  ];
  const runs = rows.map((): Awaited<ReturnType<typeof measure>>[] => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [index, [, way, isEdited]] of rows.entries()) {
      const editing = isEdited ? new AbortController() : null;
      const edits = editing === null ? null : edit(stack, runner, editing.signal);
      runs[index]?.push(await measure({ ...way, connections: 8, seconds: SECONDS }));
      editing?.abort();
      await edits;
    }
  const of = (index: number, field: "requestsPerSecond" | "p50Ms" | "p99Ms"): number =>
    rounded(median((runs[index] ?? []).map((run) => run[field])));
  return rows.map(([way], index) => ({
    way,
    perSecond: Math.round(of(index, "requestsPerSecond")),
    p50Ms: of(index, "p50Ms"),
    p99Ms: of(index, "p99Ms"),
    ratio: rounded(of(index, "requestsPerSecond") / of(0, "requestsPerSecond")),
  }));
}

/** As a person who saves often. */
async function edit(stack: TestStack, runner: RunnerProcess, signal: AbortSignal): Promise<void> {
  const file = "/projects/vite/files/index.html";
  const { body } = await stack.api("GET", file);
  const text = String(body["content"]);
  for (let count = 0; !signal.aborted && !runner.isOver; count++) {
    await stack.api("PUT", file, { content: `${text}<!-- ${count} -->`, encoding: "utf8" });
    await sleep(EDIT_PAUSE_MS);
  }
}

async function memory(stack: TestStack, runner: RunnerProcess): Promise<ProjectResults["memory"]> {
  const rows: ProjectResults["memory"] = [];
  const look = async (state: string): Promise<void> => {
    await sleep(1_000); // what a request left is collected
    const started = runner.hosted().map((pid) => residentMiB(pid));
    rows.push({
      state,
      runner: Math.round(runner.residentMiB()),
      started: Math.round(started.reduce((sum, one) => sum + one, 0)),
    });
  };
  await look("no project (baseline)");
  for (let count = 0; count < IDLE_PROJECTS; count++) {
    const slug = `idle-${count}`;
    await stack.api("POST", "/projects", { slug });
    await stack.api("PUT", `/projects/${slug}/files/index.html`, {
      content: "<h1>idle</h1>",
      encoding: "utf8",
    });
  }
  await look(`${IDLE_PROJECTS} idle projects`);
  for (let count = 0; count < SERVERS; count++) {
    await stack.api("POST", `/projects/idle-${count}/dev-server`);
    await stack.api("PATCH", `/projects/idle-${count}`, { public: true });
    await answers(stack, `idle-${count}`);
  }
  await look(`and ${SERVERS} of them with dev servers`);
  for (const slug of await slugs(stack)) await stack.api("DELETE", `/projects/${slug}`);
  return rows;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
