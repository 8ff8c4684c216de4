import { z } from "zod";
import { isFinished, type AppDocument, type Deployment, type Target } from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import { PLACEMENT_CANDIDATES_LIMIT, RUNNER_POLL_MS } from "../protocol/limits.ts";
import { callRunner, runnerRefusal, type RunnerAnswer } from "../runners/call-runner.ts";
import { hubOf, type HubBinding } from "../runners/reach-hub.ts";
import { hasLabels, isPlaceable, placeableRunners, readRunner } from "../runners/registry.ts";
import { parseRunnerUrl, runnerOrigin } from "../runners/origin.ts";
import type { StateStore } from "../state/store.ts";
import type { BuildLog, LogPage, LogQuery, Provider, Provisioned, Step } from "./provider.ts";

type RunnerTarget = Extract<Target, { kind: "runner" }>;

/** Runners whose hubs are asked at once. More are only asked when none of these has the source. */
const LOOKED_AT_ONCE = 20;
/** Pages of a build's log that one step reads: as many lines as a controller keeps. */
const LOG_PAGES_LIMIT = 20;

const status = z.object({
  state: z.string(),
  reason: z.string().nullable(),
  lastLines: z.array(z.string()),
});
const logPage = z.object({
  lines: z.array(
    z.object({
      at: z.string(),
      stream: z.enum(["stdout", "stderr", "system"]),
      text: z.string(),
      phase: z.string().optional(),
    }),
  ),
  cursor: z.number().int().nonnegative(),
  truncated: z.boolean().default(false),
});

/** A process that a runner hosts, built from an uploaded source and reached through the runner's own connection. */
export function runnerProvider(parts: {
  env: HubBinding;
  store: StateStore;
  internalToken: string;
}): Provider {
  const { env, store, internalToken } = parts;

  const call = (runnerId: string, method: string, path: string, body?: unknown): Promise<RunnerAnswer> =>
    callRunner(env, runnerId, method, path, { body });

  async function provision(
    deployment: Deployment,
    app: AppDocument,
    log: BuildLog,
  ): Promise<Step<Provisioned>> {
    const target = runnerTarget(deployment);
    const { runnerId } = target;
    const at = path(app, deployment);
    const put = await call(runnerId, "PUT", at, specOf(target, app, deployment, internalToken));
    if (put.kind === "unreachable") return unreachable(runnerId, put);
    if (put.status >= 400) return judge(put, runnerId);
    return follow(runnerId, at, app, deployment, log);
  }

  async function follow(
    runnerId: string,
    at: string,
    app: AppDocument,
    deployment: Deployment,
    log: BuildLog,
  ): Promise<Step<Provisioned>> {
    // Asked before the log is read, so that the log is complete once it says that all is over.
    const answer = await call(runnerId, "GET", at);
    if (answer.kind === "unreachable") return unreachable(runnerId, answer);
    if (answer.status >= 400) return judge(answer, runnerId);
    const { state, reason, lastLines } = status.parse(answer.json);
    await readLog(runnerId, at, log);
    if (state === "running") {
      return {
        status: "done",
        value: { url: runnerOrigin(runnerId, service(app, deployment)), resources: { runnerId } },
      };
    }
    if (state === "failed") {
      return {
        status: "failed",
        reason: [reason ?? "It failed.", ...lastLines.slice(-20)].join("\n").slice(0, 4_000),
      };
    }
    return wait(`${state} on ${runnerId}`);
  }

  /** All that there is, since whoever is done doesn't come back for the rest. */
  async function readLog(runnerId: string, at: string, log: BuildLog): Promise<void> {
    let { cursor } = log;
    for (let pages = 0; pages < LOG_PAGES_LIMIT; pages++) {
      const answer = await call(runnerId, "GET", `${at}/logs?cursor=${cursor}`);
      const page =
        answer.kind === "answer" && answer.status === 200 ? logPage.safeParse(answer.json).data : undefined;
      if (!page || page.cursor === cursor) return;
      log.append(
        page.lines.map(({ text }) => text),
        page.cursor,
      );
      cursor = page.cursor;
    }
  }

  return {
    async place(target) {
      if (target.kind !== "runner") return target;
      for await (const id of candidates(env, store, target)) {
        const found = await call(id, "HEAD", `/sources/${target.source.sha256}`);
        if (found.kind === "answer" && found.status === 200) return { ...target, runnerId: id };
      }
      const where =
        target.runnerId === undefined
          ? `any runner that fits (the ${PLACEMENT_CANDIDATES_LIMIT} least loaded are asked)`
          : `runner ${target.runnerId}`;
      throw refused(
        "target.source.sha256",
        `isn't on ${where}; upload it with PUT /runners/ID/sources first and name that runner`,
      );
    },
    provision,
    async redeploy(deployment, app, log) {
      const { runnerId } = runnerTarget(deployment);
      const at = path(app, deployment);
      // The runner restarts once for each request, however often it is told of it.
      const request = String(deployment.redeploy?.requestedAt ?? 0);
      const answer = await call(runnerId, "POST", `${at}/restart?request=${request}`);
      if (answer.kind === "unreachable") return unreachable(runnerId, answer);
      if (answer.status >= 400) return judge(answer, runnerId);
      return follow(runnerId, at, app, deployment, log);
    },
    async remove(deployment, app) {
      // It was never placed, so there is nothing.
      if (deployment.target.kind !== "runner" || deployment.target.runnerId === undefined) return gone;
      const { runnerId } = deployment.target;
      const answer = await call(runnerId, "DELETE", path(app, deployment));
      if (answer.kind === "answer") {
        return answer.status < 300 || answer.status === 404
          ? gone
          : wait(`runner ${runnerId} answered ${answer.status}`);
      }
      // A runner that was forgotten takes nothing away any more, and what it hosted went with it.
      return (await readRunner(store, runnerId)) === null ? gone : unreachable(runnerId, answer);
    },
    async openStreams(deployment) {
      const target = deployment.url === null ? null : parseRunnerUrl(deployment.url);
      return target && hubOf(env, target.runnerId).openStreams(target.service);
    },
    logs: (deployment, app, query) =>
      readPage(env, runnerTarget(deployment).runnerId, deployment, app, query),
  };
}

const gone: Step<null> = { status: "done", value: null };

type PlacedTarget = RunnerTarget & { runnerId: string };

function runnerTarget({ id, target }: Deployment): PlacedTarget {
  if (target.kind !== "runner" || target.runnerId === undefined) {
    throw new Error(`Deployment ${id} was never placed on a runner`);
  }
  return { ...target, runnerId: target.runnerId };
}

/** The name by which the tunnel asks for it. */
function service(app: AppDocument, { id }: Deployment): string {
  return `${app.name}/${id}`;
}

function path(app: AppDocument, deployment: Deployment): string {
  return `/deployments/${service(app, deployment)}`;
}

/** What the runner is told, with the variables of the app contract. It keeps those of the first time. */
function specOf(target: PlacedTarget, app: AppDocument, { id }: Deployment, internalToken: string): unknown {
  const { source, install, build, start, env, healthPath, host } = target;
  const contract = {
    PULSE_DEPLOYMENT_ID: id,
    PULSE_RAILWAY_INTERNAL_TOKEN: internalToken,
    PULSE_SERVER_ADDRESS: app.config.hosts[0] === undefined ? "" : `https://${app.config.hosts[0]}`,
  };
  return { source, install, build, start, healthPath, host, env: { ...env, ...contract } };
}

/** What a runner says of itself in its heartbeats, as far as placement asks its hub for it. */
const heartbeat = z.object({ payload: z.object({ busy: z.number().default(0) }) });

/**
 * Ids of runners that may take something new and have all the labels, the least loaded first: by what the registry
 * knows so many at a time, and among these by what their hubs know.
 */
async function* candidates(
  env: HubBinding,
  store: StateStore,
  { runnerId: wanted, labels = {} }: RunnerTarget,
): AsyncGenerator<string> {
  if (wanted !== undefined) {
    const record = await readRunner(store, wanted);
    if (!record) throw refused("target.runnerId", `names no runner: ${wanted} never connected`);
    if (record.state !== "online") throw refused("target.runnerId", `is ${record.state}: ${record.reason}`);
    yield wanted;
    return;
  }
  const known = await placeableRunners(store, labels, PLACEMENT_CANDIDATES_LIMIT);
  let some = false;
  for (let at = 0; at < known.length; at += LOOKED_AT_ONCE) {
    const batch = known.slice(at, at + LOOKED_AT_ONCE);
    const looks = await Promise.all(batch.map(({ id }) => look(env, id, labels)));
    for (const { id } of looks.filter((look) => look !== null).sort((one, other) => one.load - other.load)) {
      some = true;
      yield id;
    }
  }
  if (some) return;
  const field = Object.keys(labels).length === 0 ? "target.runnerId" : "target.labels";
  throw refused(field, "fits no runner that is connected and takes new work");
}

/** Null for one that isn't what the registry says any more, or whose hub can't say: others are chosen then. */
async function look(
  env: HubBinding,
  id: string,
  labels: Record<string, string>,
): Promise<{ id: string; load: number } | null> {
  try {
    const { record, status, openStreams } = await hubOf(env, id).view();
    if (record === null || !isPlaceable(record) || !hasLabels(record, labels)) return null;
    const said = heartbeat.safeParse(status === null ? null : JSON.parse(status)).data?.payload;
    // A deployment weighs more than a request: it stays.
    return { id, load: (record.deployments + (said?.busy ?? 0)) * 100 + openStreams };
  } catch (error) {
    console.error(`placement: the hub of runner ${id} failed:`, error);
    return null;
  }
}

/** A refusal that will be the same next time ends the rollout; one that passes is waited for. */
function judge(answer: Extract<RunnerAnswer, { kind: "answer" }>, runnerId: string): Step<never> {
  const problem = runnerRefusal.safeParse(answer.json).data;
  const why = problem?.detail ?? `it answered ${answer.status}`;
  if (answer.status >= 500 && problem?.code !== "disk_full") return wait(`runner ${runnerId}: ${why}`);
  if (problem?.code === "deployment_stopping") return wait(`runner ${runnerId}: ${why}`);
  return { status: "failed", reason: `Runner ${runnerId}: ${why}` };
}

function unreachable(
  runnerId: string,
  { problem }: Extract<RunnerAnswer, { kind: "unreachable" }>,
): Step<never> {
  return wait(`runner ${runnerId}: ${problem.message}`);
}

/** A page as the runner has it. What it doesn't know has yet to reach it, or is just being taken away from it. */
async function readPage(
  env: HubBinding,
  runnerId: string,
  deployment: Deployment,
  app: AppDocument,
  { cursor, limit, waitMs, signal }: LogQuery,
): Promise<LogPage> {
  const none = { lines: [], cursor, truncated: false };
  if (isFinished(deployment)) return { ...none, complete: true, detail: GONE_WITH_IT };
  const query = new URLSearchParams({
    cursor: String(cursor),
    limit: String(limit),
    wait: String(Math.ceil(waitMs / 1_000)),
  });
  const at = `${path(app, deployment)}/logs?${query.toString()}`;
  const answer = await callRunner(env, runnerId, "GET", at, { waitMs, signal });
  if (answer.kind === "unreachable") throw answer.problem;
  const page = answer.status === 200 ? logPage.safeParse(answer.json).data : undefined;
  if (page) return { ...page, complete: false };
  const refused = runnerRefusal.safeParse(answer.json).data;
  if (refused?.code === "deployment_not_found") return { ...none, complete: false };
  throw new Problem(
    "runner_failed",
    `Runner ${runnerId} can't read the log: ${refused?.detail ?? `it answered ${answer.status}`}`,
  );
}

const GONE_WITH_IT = "The logs were deleted with the deployment; what its build wrote is among its events.";

function wait(detail: string): Step<never> {
  return { status: "wait", untilMs: Date.now() + RUNNER_POLL_MS, detail };
}

function refused(field: string, message: string): Problem {
  return new Problem("target_refused", `${field} ${message}.`, { errors: [{ field, message }] });
}
