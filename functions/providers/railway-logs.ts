import { isFinished } from "../deployments/app-document.ts";
import { RailwayError } from "../railway/error.ts";
import { allLogs, deploymentLogs, type RailwayLogLine } from "../railway/operations.ts";
import type { LogPage, LogQuery } from "./provider.ts";
import { dateOf, linesOf, microseconds } from "./railway-log.ts";
import type { RailwayStep } from "./railway-step.ts";

/** A cursor has at most 15 digits, so it counts tens of microseconds: this many in a millisecond. */
const TICKS_PER_MS = 100;
/** Lines that Railway is asked for at once. */
const ASKED = 1_000;
/**
 * Younger lines wait for the next look: others of the very same time may still come, and a cursor that is a time
 * couldn't tell them apart. Longer than the two clocks are uncertain by.
 */
const SETTLED_MS = 500;
/** Whoever follows a log is one call every few seconds: Railway counts them by the hour. */
const FIRST_PAUSE_MS = 2_000;
const PAUSE_LIMIT_MS = 10_000;
/** For so long a look at which deployment is the newest is good enough. */
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
  // Whoever has come to the end of it waits for more first; whoever catches up doesn't.
  const isAtEnd = cursor > (Date.now() - PAUSE_LIMIT_MS) * TICKS_PER_MS;
  if (isAtEnd) await pause(Math.min(FIRST_PAUSE_MS, waitMs), signal);
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(PAUSE_LIMIT_MS, pauseMs * 1.5)) {
    const deployment = await newest(step);
    const page = deployment === null ? null : await readPage(step, deployment, cursor, limit);
    if (page !== null && page.lines.length > 0) return page;
    if (Date.now() + pauseMs > deadline || signal.aborted) return { ...none, complete: false };
    await pause(pauseMs, signal);
  }
}

const GONE_WITH_IT = "Railway deleted the logs with the service; what its build wrote is among its events.";

/** Only of a service with our mark: what others write is theirs. */
async function newest(step: RailwayStep): Promise<string | null> {
  const { app, deployment } = step;
  const key = JSON.stringify([await step.owner(), app.name, deployment.id, deployment.createdAt]);
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
  const asked = { deployment, since: dateOf(cursor * 10), limit: ASKED };
  const found = await step
    .call(allLogs, asked, undefined, { isAside: true })
    .catch(async (error: unknown) => {
      // An image was built elsewhere, or its build is too old: what runs still writes.
      if (!(error instanceof RailwayError) || error.retryable || error.kind === "unauthorized") throw error;
      return { buildLogs: [], ...(await step.call(deploymentLogs, asked, undefined, { isAside: true })) };
    });
  const settledBefore = (Date.now() + step.access.client.clockAheadMs - SETTLED_MS) * TICKS_PER_MS;
  const all = [...found.buildLogs.map(inPhase("build")), ...found.deploymentLogs.map(inPhase("start"))]
    .filter(({ time }) => time > cursor && time < settledBefore)
    .sort((one, other) => one.time - other.time);
  // Lines of one time stay together, even where that makes a page longer.
  const last = all[limit - 1]?.time ?? Infinity;
  const taken = all.filter(({ time }) => time <= last);
  const isFull = Math.max(found.buildLogs.length, found.deploymentLogs.length) >= ASKED;
  return {
    lines: taken.flatMap(({ at, stream, phase, message }) =>
      linesOf(message).map((text) => ({ at, stream, text, phase })),
    ),
    cursor: taken.at(-1)?.time ?? cursor,
    // Railway gives the newest of so many that it was asked for.
    truncated: isFull && (all[0]?.time ?? 0) > cursor,
    complete: false,
  };
}

interface TimedLine {
  at: string;
  /** In ticks. */
  time: number;
  stream: "stdout" | "stderr";
  phase: string;
  message: string;
}

function inPhase(phase: string): (line: RailwayLogLine) => TimedLine {
  return ({ timestamp, message, severity }) => ({
    at: timestamp,
    time: Math.floor(microseconds(timestamp) / 10),
    stream: /^(?:err|fatal|crit)/i.test(severity ?? "") ? "stderr" : "stdout",
    phase,
    message,
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    signal.addEventListener("abort", end, { once: true });
  });
}
