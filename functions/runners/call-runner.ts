import { z } from "zod";
import { textWithin } from "../answer-body.ts";
import { Problem } from "../errors.ts";
import { RUNNER_ANSWER_LIMIT_BYTES, RUNNER_CALL_TIMEOUT_MS } from "../protocol/limits.ts";
import { printableLine } from "../protocol/printable.ts";
import { RUNNER_SERVICE } from "../protocol/runner-api.ts";
import { fetchHub, type HubBinding } from "./reach-hub.ts";

/** Characters of a problem that are said on. A runner can answer in its hub's words. */
const DETAIL_LIMIT = 500;

export type RunnerAnswer =
  | { kind: "answer"; status: number; headers: Headers; json: unknown }
  /** It can't be asked now. */
  | { kind: "unreachable"; problem: Problem };

/** The hub's own answers when its runner can't be asked. */
const hubProblem = z.object({
  code: z.enum([
    "runner_offline",
    "runner_overloaded",
    "runner_draining",
    "runner_without_streams",
    "stream_reset",
    "stream_timeout",
    "upstream_unreachable",
  ]),
  detail: z.string(),
});

/** One call of the runner's own API. Never throws: `unreachable` may be tried again. */
export async function callRunner(
  env: HubBinding,
  runnerId: string,
  method: string,
  path: string,
  {
    body,
    waitMs = 0,
    signal,
    limitBytes = RUNNER_ANSWER_LIMIT_BYTES,
  }: { body?: unknown; waitMs?: number; signal?: AbortSignal; limitBytes?: number } = {},
): Promise<RunnerAnswer> {
  const hubCall = { kind: "tunnel", runnerId, service: RUNNER_SERVICE, path } as const;
  const limit = AbortSignal.timeout(waitMs + RUNNER_CALL_TIMEOUT_MS);
  try {
    const response = await fetchHub(env, hubCall, {
      method,
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    // Without a body nothing tells the runner's failures from its hub's.
    if (method === "HEAD" && response.status >= 500) {
      const detail = `Runner ${runnerId} can't be asked just now (${response.status}).`;
      return { kind: "unreachable", problem: new Problem("runner_offline", detail) };
    }
    const text = await textWithin(response, limitBytes);
    const json: unknown = text === "" ? null : JSON.parse(text);
    const problem = response.ok ? null : hubProblemOf(json);
    if (problem) return { kind: "unreachable", problem };
    return { kind: "answer", status: response.status, headers: response.headers, json };
  } catch (error) {
    const why = error instanceof Error ? error.message : "it didn't answer";
    const detail = printableLine(`Runner ${runnerId}: ${why}`, DETAIL_LIMIT);
    return { kind: "unreachable", problem: new Problem("runner_failed", detail) };
  }
}

/** Null for an answer of the runner itself. */
export function hubProblemOf(json: unknown): Problem | null {
  const said = hubProblem.safeParse(json).data;
  return said ? new Problem(said.code, printableLine(said.detail, DETAIL_LIMIT)) : null;
}
