import { jsonOf, textStart } from "../answer-body.ts";
import { Problem, type ProblemCode } from "../errors.ts";
import { parseRunnerRefusal, RUNNER_SERVICE } from "../protocol/runner-api.ts";
import { callRunner, hubProblemOf } from "../runners/call-runner.ts";
import { fetchHub, type HubBinding } from "../runners/reach-hub.ts";

/** How a runner's refusals are called here. Others are `runner_failed`. */
const REFUSALS: Record<string, ProblemCode> = {
  invalid_request: "invalid_request",
  invalid_project: "invalid_request",
  project_not_found: "unknown_project",
  build_not_found: "unknown_build",
  question_not_found: "unknown_question",
  build_running: "build_running",
  changed_since: "changed_since",
  nothing_to_undo: "nothing_to_undo",
  too_many_builds: "too_many_builds",
  draining: "runner_draining",
  disk_full: "target_refused",
  invalid_path: "invalid_request",
  path_outside_project: "path_outside_project",
  not_found: "unknown_file",
  not_a_file: "not_a_file",
  not_a_directory: "not_a_file",
  changed_meanwhile: "changed_meanwhile",
  git_conflict: "git_conflict",
  git_behind: "git_behind",
  git_unauthorized: "git_unauthorized",
  git_failed: "git_failed",
  project_exists: "project_exists",
  project_not_empty: "project_not_empty",
  project_busy: "project_busy",
  too_large: "body_too_large",
  source_not_found: "unknown_source",
  invalid_archive: "source_refused",
  hash_mismatch: "source_refused",
  archive_too_large: "source_refused",
};

const REFUSAL_BYTES = 16 * 1024;

/** One call about a project, of its runner's own API. Throws {@link Problem}. */
export async function callProject<T>(
  { env, runnerId }: { env: HubBinding; runnerId: string },
  method: string,
  path: string,
  parse: (value: unknown) => T | null,
  options: { body?: unknown; waitMs?: number; signal?: AbortSignal; limitBytes?: number } = {},
): Promise<T> {
  const answer = await callRunner(env, runnerId, method, path, options);
  if (answer.kind === "unreachable") throw answer.problem;
  const { status, json } = answer;
  if (status >= 200 && status < 300) {
    const value = parse(json);
    if (value !== null) return value;
  }
  throw refusalOf(json, runnerId, status);
}

/** An answer that isn't JSON, as it comes. Throws {@link Problem}. */
export async function streamOfProject(
  { env, runnerId }: { env: HubBinding; runnerId: string },
  path: string,
  signal: AbortSignal,
): Promise<Response> {
  const call = { kind: "tunnel", runnerId, service: RUNNER_SERVICE, path } as const;
  const response = await fetchHub(env, call, { method: "GET", signal });
  if (response.ok) return response;
  const json = jsonOf(await textStart(response, REFUSAL_BYTES));
  throw hubProblemOf(json) ?? refusalOf(json, runnerId, response.status);
}

/** What a streamed call was answered. Throws {@link Problem}. */
export async function answerOf<T>(
  response: Response,
  runnerId: string,
  parse: (value: unknown) => T | null,
): Promise<T> {
  const json = jsonOf(await textStart(response, REFUSAL_BYTES));
  const value = response.ok ? parse(json) : null;
  if (value !== null) return value;
  throw hubProblemOf(json) ?? refusalOf(json, runnerId, response.status);
}

function refusalOf(json: unknown, runnerId: string, status: number): Problem {
  const refusal = parseRunnerRefusal(json);
  if (refusal === null) {
    const detail = `Runner ${runnerId} answered ${status}, which makes no sense here.`;
    return new Problem("runner_failed", detail);
  }
  const { code, detail, field } = refusal;
  const errors = field === undefined ? {} : { errors: [{ field, message: detail }] };
  return new Problem(REFUSALS[code] ?? "runner_failed", detail, errors);
}
