import { isFinished } from "../../apps/app-document.ts";
import { RailwayError } from "../../railway/error.ts";
import { delay } from "../../railway/delay.ts";
import { deploymentOutput, deploymentLogs, type RailwayLogLine } from "../../railway/operations.ts";
import type { LogPage, LogQuery } from "../provider.ts";
import { dateOf, linesOf, microseconds } from "./log.ts";
import type { RailwayStep } from "./step.ts";

/**
 * A cursor is a millisecond and how many of its lines were read, since Railway tells its lines apart by time only. With
 * two digits for these it has the fifteen that an event's id may have.
 */
const LINES_OF_A_MS = 100;
/** Lines that Railway is asked for at once. */
const ASKED = 1_000;
/** Younger lines wait for the next look: others may still come that belong before them. */
const SETTLED_MS = 500;
/** Each reader of a log costs a call every few seconds, and Railway limits calls by the hour. */
const FIRST_DELAY_MS = 2_000;
const DELAY_LIMIT_MS = 10_000;
/** How long to believe which Railway deployment is the newest. */
const LOOK_AGE_MS = 15_000;

interface Look {
  deployment: string | null;
  at: number;
}
const looks = new Map<string, Look>();
const LOOKS_LIMIT = 500;

/** A page of what the newest deployment on Railway wrote, while built and since; its cursor is a time. */
export async function readLogs(step: RailwayStep, query: LogQuery): Promise<LogPage> {
  const { cursor, limit, waitMs, signal } = query;
  const none = { lines: [], cursor, truncated: false };
  if (isFinished(step.deployment)) return { ...none, complete: true, detail: GONE_WITH_IT };
  const deadline = Date.now() + waitMs;
  // A reader at the log's end waits before it asks; one that catches up doesn't.
  const isAtEnd = cursor > (Date.now() - DELAY_LIMIT_MS) * LINES_OF_A_MS;
  if (isAtEnd) await delay(Math.min(FIRST_DELAY_MS, waitMs), signal);
  for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(DELAY_LIMIT_MS, delayMs * 1.5)) {
    const deployment = await newest(step);
    const page = deployment === null ? null : await readPage(step, deployment, cursor, limit);
    if (page !== null && page.lines.length > 0) return page;
    if (Date.now() + delayMs > deadline || signal.aborted) return { ...none, complete: false };
    await delay(delayMs, signal);
  }
}

const GONE_WITH_IT = "Railway deleted the logs with the service; what its build wrote is among its events.";

/** Only of a service with our mark: what others write is theirs. */
async function newest(step: RailwayStep): Promise<string | null> {
  const { app, deployment } = step;
  const { owner, installation } = await step.identity();
  const key = JSON.stringify([owner, installation, app.name, deployment.id, deployment.createdAt]);
  const known = looks.get(key);
  if (known && Date.now() - known.at < LOOK_AGE_MS && known.deployment !== null) return known.deployment;
  const state = await step.seek({ isAside: true });
  const latest = state?.serviceInstance.latestDeployment?.id ?? null;
  looks.set(key, { deployment: latest, at: Date.now() });
  const [oldest] = looks.keys();
  if (looks.size > LOOKS_LIMIT && oldest !== undefined) looks.delete(oldest);
  return latest;
}

async function readPage(
  step: RailwayStep,
  deployment: string,
  cursor: number,
  limit: number,
): Promise<LogPage> {
  const sinceMs = Math.floor(cursor / LINES_OF_A_MS);
  const asked = { deployment, since: dateOf(sinceMs * 1_000), limit: ASKED };
  const found = await step
    .call(deploymentOutput, asked, undefined, { isAside: true })
    .catch(async (error: unknown) => {
      // An image was built elsewhere, or its build is too old: what runs still writes.
      if (!(error instanceof RailwayError) || error.retryable || error.kind === "unauthorized") throw error;
      return { buildLogs: [], ...(await step.call(deploymentLogs, asked, undefined, { isAside: true })) };
    });
  const settledBefore = Date.now() + step.access.client.clockAheadMs - SETTLED_MS;
  const all = [...found.buildLogs.map(ofStep("build")), ...found.deploymentLogs.map(ofStep("start"))]
    .filter(({ ms }) => ms >= sinceMs && ms < settledBefore)
    .sort((one, other) => one.ms - other.ms);
  const fresh = all.slice(cursor % LINES_OF_A_MS);
  const isFull = Math.max(found.buildLogs.length, found.deploymentLogs.length) >= ASKED;
  const { taken, next } = cut(all, fresh, limit, cursor);
  return {
    lines: taken.flatMap(({ at, stream, step, message }) =>
      linesOf(message).map((text) => ({ at, stream, text, step })),
    ),
    cursor: next,
    // Of more lines than it was asked for, Railway gives the newest.
    truncated: isFull && (all[0]?.ms ?? 0) > sinceMs,
    complete: false,
  };
}

/** The first of the lines, and the cursor behind them. More of one millisecond than it can count stay together. */
function cut(
  all: readonly TimedLine[],
  fresh: readonly TimedLine[],
  limit: number,
  cursor: number,
): { taken: readonly TimedLine[]; next: number } {
  const taken = fresh.slice(0, limit);
  const newest = taken.at(-1)?.ms;
  if (newest === undefined) return { taken, next: cursor };
  const left = fresh.length - taken.length;
  const read = all.slice(0, all.length - left).filter(({ ms }) => ms === newest).length;
  if (read < LINES_OF_A_MS) return { taken, next: newest * LINES_OF_A_MS + read };
  return { taken: fresh.filter(({ ms }) => ms <= newest), next: (newest + 1) * LINES_OF_A_MS };
}

interface TimedLine {
  at: string;
  ms: number;
  stream: "stdout" | "stderr";
  step: string;
  message: string;
}

function ofStep(step: string): (line: RailwayLogLine) => TimedLine {
  return ({ timestamp, message, severity }) => ({
    at: timestamp,
    ms: Math.floor(microseconds(timestamp) / 1_000),
    stream: /^(?:err|fatal|crit)/i.test(severity ?? "") ? "stderr" : "stdout",
    step,
    message,
  });
}
