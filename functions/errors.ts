/** Every code that Signalbox answers with, and its HTTP status. Codes are stable; messages may change. */
const statuses = {
  invalid_request: 400,
  invalid_json: 400,
  unauthorized: 401,
  cross_origin: 403,
  insufficient_scope: 403,
  unknown_app: 404,
  unknown_host: 404,
  not_found: 404,
  method_not_allowed: 405,
  /** The edge's answer to visitors: the app has no active deployment. */
  deployment_not_found: 404,
  no_logs: 404,
  stale_affinity: 409,
  version_conflict: 409,
  host_taken: 409,
  host_reserved: 409,
  not_operator_host: 404,
  idempotency_key_reused: 422,
  operation_under_way: 409,
  secret_shown_once: 409,
  target_refused: 422,
  body_too_large: 413,
  url_too_long: 414,
  unsupported_media_type: 415,
  headers_too_large: 431,
  too_many_attempts: 429,
  internal_error: 500,
  config_invalid: 500,
  upstream_unreachable: 502,
  app_paused: 503,
  /** A browser may load a page ahead, but not one of another version than the open page. */
  prefetch_refused: 503,
  store_unavailable: 503,
  object_unavailable: 503,
  hold_timeout: 504,

  unknown_project: 404,
  project_exists: 409,
  unknown_build: 404,
  unknown_question: 404,
  unknown_file: 404,
  path_outside_project: 403,
  not_a_file: 409,
  changed_meanwhile: 409,
  git_conflict: 409,
  git_behind: 409,
  git_unauthorized: 409,
  git_failed: 409,
  project_not_empty: 409,
  project_busy: 409,
  too_many_builds: 429,
  preview_unset: 409,
  preview_refused: 401,

  unknown_token: 404,
  token_exists: 409,
  too_many_tokens: 409,

  unknown_runner: 404,
  unknown_source: 404,
  source_refused: 422,
  runner_online: 409,
  stream_reset: 502,
  /** Of undo: a build runs; files changed since; no build is left to take back. */
  build_running: 409,
  changed_since: 409,
  nothing_to_undo: 409,
  runner_failed: 502,
  runner_without_streams: 502,
  runner_offline: 503,
  runner_overloaded: 503,
  /** One app, or one visitor, has all that it may have of a runner. */
  app_share_used_up: 503,
  visitor_share_used_up: 429,
  runner_draining: 503,
  runner_secret_unset: 503,
  /** The runner has a credential of its own: RUNNER_SHARED_SECRET alone opens nothing of it. */
  runner_enrolled: 403,
  enrolment_required: 403,
  stream_timeout: 504,
  command_timeout: 504,

  railway_failed: 502,
  railway_unavailable: 503,
  source_not_expected: 409,

  /** The control API: no deployment has this id. */
  unknown_deployment: 404,
  deployment_exists: 409,
  too_many_deployments: 409,
  active_deployment: 409,
  already_active: 409,
  not_ready: 409,
  deployment_retiring: 409,
  deployment_finished: 409,
  wrong_state: 409,
  no_previous_deployment: 409,
  no_active_deployment: 409,
  below_minimum: 409,
  already_paused: 409,
  not_paused: 409,
  no_canary: 404,
  redeploy_in_progress: 409,
  app_deleting: 409,
  app_too_large: 409,
} as const satisfies Record<string, number>;

export type ProblemCode = keyof typeof statuses;

/** A setting is missing or wrong. The message names it, never its value. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

export interface FieldError {
  /** Where in the request: `weight`, `target.url`, `path.app`. */
  field: string;
  message: string;
}

/** A failure to answer with. `detail` says what failed and the remedy; never a secret or a stack. */
export class Problem extends Error {
  override name = "Problem";
  readonly code: ProblemCode;
  readonly status: number;
  readonly errors: FieldError[];
  readonly headers: Record<string, string>;

  constructor(
    code: ProblemCode,
    detail: string,
    options: { errors?: FieldError[]; headers?: Record<string, string> } = {},
  ) {
    super(detail);
    this.code = code;
    this.status = statuses[code];
    this.errors = options.errors ?? [];
    this.headers = options.headers ?? {};
  }

  toJSON(): Record<string, unknown> {
    return {
      type: `urn:signalbox:${this.code}`,
      title: title(this.code),
      status: this.status,
      code: this.code,
      detail: this.message,
      ...(this.errors.length > 0 ? { errors: this.errors } : {}),
    };
  }
}

/** The code, also where the body is a page. */
export const PROBLEM_HEADER = "x-signalbox-problem";

/** Problem details (RFC 9457); a small page with the same code for a navigating browser. */
export function problemResponse(problem: Problem, request: Request): Response {
  const headers = new Headers(problem.headers);
  headers.set("cache-control", "no-store");
  headers.set("x-content-type-options", "nosniff");
  headers.set(PROBLEM_HEADER, problem.code);
  if (wantsHtml(request)) {
    headers.set("content-type", "text/html; charset=utf-8");
    headers.set("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'");
    return new Response(page(problem), { status: problem.status, headers });
  }
  headers.set("content-type", "application/problem+json");
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
}

export function wantsHtml(request: Request): boolean {
  const accept = request.headers.get("accept") ?? "";
  return accept.includes("text/html") && (request.method === "GET" || request.method === "HEAD");
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function title(code: ProblemCode): string {
  const words = code.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function page(problem: Problem): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${problem.status} ${title(problem.code)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
code{font-size:.85em;opacity:.7}</style>
<h1>${title(problem.code)}</h1><p>${escapeHtml(problem.message)}</p><p><code>${problem.status} ${problem.code}</code></p></html>`;
}
