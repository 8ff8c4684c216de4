import { isFinished, type Deployment } from "../deployments/app-document.ts";
import { RailwayError } from "../railway/error.ts";
import { deploymentOutput } from "../railway/operations.ts";
import type { LogPage, LogQuery } from "./provider.ts";
import type { RailwayAccess } from "./railway-access.ts";
import { linesOf } from "./railway-log.ts";

/** A cursor is a millisecond and how many of its lines were read: Railway tells its lines apart by time only. */
const LINES_OF_A_MILLISECOND = 1_000;

/** What a deployment's build and it itself printed, from a cursor on. Throws {@link RailwayError}. */
export async function readLogs(
  { client }: RailwayAccess,
  deployment: Deployment,
  { cursor, limit, signal }: LogQuery,
): Promise<LogPage> {
  const none: LogPage = { lines: [], cursor, truncated: false, complete: false };
  if (isFinished(deployment)) return { ...none, complete: true, detail: GONE_WITH_IT };
  const { railwayDeployment } = deployment.resources;
  if (railwayDeployment === undefined) return { ...none, detail: NOT_YET };
  const sinceMs = Math.floor(cursor / LINES_OF_A_MILLISECOND);
  const since = cursor === 0 ? null : new Date(sinceMs).toISOString();
  const about = `deployment ${deployment.id}`;
  const output = await client
    .call(deploymentOutput, { deployment: railwayDeployment, since, limit }, { about, signal })
    .catch((error: unknown) => {
      if (error instanceof RailwayError && error.kind === "not_found") return null;
      throw error;
    });
  if (output === null) return none;
  const { buildLogs, deploymentLogs } = output;
  const found = [
    ...buildLogs.map((line) => ({ ...line, phase: "build" })),
    ...deploymentLogs.map((line) => ({ ...line, phase: "start" })),
  ]
    .map((line) => ({ ...line, ms: Date.parse(line.timestamp) }))
    .filter(({ ms }) => ms >= sinceMs)
    .sort((one, other) => one.ms - other.ms || order(one.timestamp, other.timestamp));
  const fresh = found.slice(cursor % LINES_OF_A_MILLISECOND);
  const newest = fresh.at(-1)?.ms;
  if (newest === undefined) return none;
  const ofNewest = found.filter(({ ms }) => ms === newest).length;
  return {
    lines: fresh.flatMap(({ timestamp, message, severity, phase }) =>
      linesOf(message).map((text) => ({
        at: timestamp,
        stream: severity === "error" ? ("stderr" as const) : ("stdout" as const),
        text,
        phase,
      })),
    ),
    cursor: newest * LINES_OF_A_MILLISECOND + Math.min(ofNewest, LINES_OF_A_MILLISECOND - 1),
    // A page that is full begins where Railway cut it.
    truncated: cursor > 0 && [buildLogs, deploymentLogs].some((lines) => lines.length >= limit),
    complete: false,
  };
}

function order(one: string, other: string): number {
  return one === other ? 0 : one < other ? -1 : 1;
}

const GONE_WITH_IT = "The logs were deleted with the service; what its build wrote is among its events.";
const NOT_YET = "It isn't built yet; what its build writes is among its events.";
