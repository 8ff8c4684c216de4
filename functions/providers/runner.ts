import { isFinished, type AppDocument, type Deployment, type Target } from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import { RUNNER_POLL_MS } from "../protocol/limits.ts";
import { printableLine } from "../protocol/printable.ts";
import {
  parseHostedDeployment,
  parseHostedLogPage,
  parseRunnerRefusal,
  runnerPaths,
  type HostedSpec,
  type RunnerRefusal,
  type RunnerRefusalCode,
} from "../protocol/runner-api.ts";
import { callRunner, type RunnerAnswer } from "../runners/call-runner.ts";
import { parseRunnerUrl, runnerOrigin } from "../runners/origin.ts";
import { placeOnRunner } from "../runners/placement.ts";
import { callHub, type HubBinding } from "../runners/reach-hub.ts";
import { readRunner } from "../runners/registry.ts";
import type { StateStore } from "../state/store.ts";
import type { BuildLog, LogPage, LogQuery, Provider, Provisioned, StepOutcome } from "./provider.ts";

type RunnerTarget = Extract<Target, { kind: "runner" }>;

/** Pages of a build's log that one step reads: as many lines as the controller keeps. */
const LOG_PAGES_LIMIT = 20;

/** Last lines that a failure's reason shows, and its characters in all. */
const REASON_LINES = 20;
const REASON_LIMIT = 4_000;

/** Hosted deployments: a runner builds an uploaded source and serves it through its own connection. */
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
  ): Promise<StepOutcome<Provisioned>> {
    const target = runnerTarget(deployment);
    const { runnerId } = target;
    const key = keyOf(app, deployment);
    const put = await call(
      runnerId,
      "PUT",
      runnerPaths.deployment(key),
      specOf(target, app, deployment, internalToken),
    );
    if (put.kind === "unreachable") return unreachable(runnerId, put);
    if (put.status >= 400) return judge(put, runnerId);
    return follow(runnerId, key, log);
  }

  async function follow(runnerId: string, key: string, log: BuildLog): Promise<StepOutcome<Provisioned>> {
    // Read before the log: if it is over here, the log is complete.
    const answer = await call(runnerId, "GET", runnerPaths.deployment(key));
    if (answer.kind === "unreachable") return unreachable(runnerId, answer);
    if (answer.status >= 400) return judge(answer, runnerId);
    const hosted = parseHostedDeployment(answer.json);
    if (hosted === null) return wait(`runner ${runnerId} answered what this version doesn't understand`);
    await readLog(runnerId, key, log);
    const { state, reason, lastLines } = hosted;
    switch (state) {
      case "running":
        return { status: "done", value: { url: runnerOrigin(runnerId, key), resources: { runnerId } } };
      case "failed": {
        const lines = [reason ?? "It failed.", ...lastLines.slice(-REASON_LINES)];
        const shown = lines.map((line) => printableLine(line, REASON_LIMIT)).join("\n");
        return { status: "failed", reason: shown.slice(0, REASON_LIMIT) };
      }
      case "unpacking":
      case "installing":
      case "building":
      case "starting":
      case "stopping":
        return wait(`${state} on ${runnerId}`);
    }
  }

  /** Reads the log to its end, since no later step will. */
  async function readLog(runnerId: string, key: string, log: BuildLog): Promise<void> {
    let { cursor } = log;
    for (let pages = 0; pages < LOG_PAGES_LIMIT; pages++) {
      const answer = await call(runnerId, "GET", runnerPaths.logs(key, { cursor }));
      const page = answer.kind === "answer" && answer.status === 200 ? parseHostedLogPage(answer.json) : null;
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
      const { runnerId } = await placeOnRunner(parts, target, { needsSource: true, at: "target." });
      return { ...target, runnerId };
    },
    provision,
    async redeploy(deployment, app, log) {
      const { runnerId } = runnerTarget(deployment);
      const key = keyOf(app, deployment);
      // The runner restarts once for each request, however often this step runs.
      const request = String(deployment.redeploy?.requestedAt ?? 0);
      const answer = await call(runnerId, "POST", runnerPaths.restart(key, request));
      if (answer.kind === "unreachable") return unreachable(runnerId, answer);
      if (answer.status >= 400) return judge(answer, runnerId);
      return follow(runnerId, key, log);
    },
    async remove(deployment, app) {
      // It was never placed.
      if (deployment.target.kind !== "runner" || deployment.target.runnerId === undefined) return gone;
      const { runnerId } = deployment.target;
      const answer = await call(runnerId, "DELETE", runnerPaths.deployment(keyOf(app, deployment)));
      if (answer.kind === "answer") {
        return answer.status < 300 || answer.status === 404
          ? gone
          : wait(`runner ${runnerId} answered ${answer.status}`);
      }
      // A deleted runner can't be asked, and what it hosted is gone with it.
      return (await readRunner(store, runnerId)) === null ? gone : unreachable(runnerId, answer);
    },
    // A runner starts what has once been ready again and again.
    givenUp: () => Promise.resolve(null),
    async openStreams(deployment) {
      const target = deployment.url === null ? null : parseRunnerUrl(deployment.url);
      if (target === null) return null;
      const { runnerId, service } = target;
      return callHub(env, runnerId, (hub) => hub.openStreams(service));
    },
    logs: (deployment, app, query) =>
      readPage(env, runnerTarget(deployment).runnerId, deployment, app, query),
  };
}

const gone: StepOutcome<null> = { status: "done", value: null };

type PlacedTarget = RunnerTarget & { runnerId: string };

function runnerTarget({ id, target }: Deployment): PlacedTarget {
  if (target.kind !== "runner" || target.runnerId === undefined) {
    throw new Error(`Deployment ${id} was never placed on a runner`);
  }
  return { ...target, runnerId: target.runnerId };
}

/** The runner's name for it, and its tunnel service. */
function keyOf(app: AppDocument, { id }: Deployment): string {
  return `${app.name}/${id}`;
}

/** With the variables of the app contract. The runner keeps the first ones that it gets. */
function specOf(
  target: PlacedTarget,
  app: AppDocument,
  { id }: Deployment,
  internalToken: string,
): HostedSpec {
  const { source, install, build, start, env, healthPath, host } = target;
  const contract = {
    PULSE_DEPLOYMENT_ID: id,
    // At build: Next puts it into every link, and its client sends it.
    NEXT_DEPLOYMENT_ID: id,
    PULSE_RAILWAY_INTERNAL_TOKEN: internalToken,
    PULSE_SERVER_ADDRESS: app.config.hosts[0] === undefined ? "" : `https://${app.config.hosts[0]}`,
  };
  return { source, install, build, start, healthPath, host, env: { ...env, ...contract } };
}

/** Waits if the refusal may pass; else the rollout has failed. */
function judge(answer: Extract<RunnerAnswer, { kind: "answer" }>, runnerId: string): StepOutcome<never> {
  const refusal = parseRunnerRefusal(answer.json);
  const why = refusal?.detail ?? `it answered ${answer.status}`;
  const passes = answer.status >= 500 ? !says(refusal, "disk_full") : says(refusal, "deployment_stopping");
  if (passes) return wait(`runner ${runnerId}: ${why}`);
  return { status: "failed", reason: `Runner ${runnerId}: ${why}` };
}

function says(refusal: RunnerRefusal | null, code: RunnerRefusalCode): boolean {
  return refusal?.code === code;
}

function unreachable(
  runnerId: string,
  { problem }: Extract<RunnerAnswer, { kind: "unreachable" }>,
): StepOutcome<never> {
  return wait(`runner ${runnerId}: ${problem.message}`);
}

/** A deployment that the runner doesn't know has yet to reach it, or is just being removed: no lines. */
async function readPage(
  env: HubBinding,
  runnerId: string,
  deployment: Deployment,
  app: AppDocument,
  { cursor, limit, waitMs, signal }: LogQuery,
): Promise<LogPage> {
  const none = { lines: [], cursor, truncated: false };
  if (isFinished(deployment)) return { ...none, complete: true, detail: GONE_WITH_IT };
  const wait = Math.ceil(waitMs / 1_000);
  const at = runnerPaths.logs(keyOf(app, deployment), { cursor, limit, wait });
  const answer = await callRunner(env, runnerId, "GET", at, { waitMs, signal });
  if (answer.kind === "unreachable") throw answer.problem;
  const page = answer.status === 200 ? parseHostedLogPage(answer.json) : null;
  if (page) return { ...page, complete: false };
  const refusal = parseRunnerRefusal(answer.json);
  if (says(refusal, "deployment_not_found")) return { ...none, complete: false };
  throw new Problem(
    "runner_failed",
    `Runner ${runnerId} can't read the log: ${refusal?.detail ?? `it answered ${answer.status}`}`,
  );
}

const GONE_WITH_IT = "The logs were deleted with the deployment; what its build wrote is among its events.";

function wait(detail: string): StepOutcome<never> {
  return { status: "wait", untilMs: Date.now() + RUNNER_POLL_MS, detail };
}
