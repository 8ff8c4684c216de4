import { runnerRefusalStatuses } from "../functions/protocol/runner-api.ts";

/**
 * Every cause that a caller of the runner branches on, with its HTTP status in the internal API. Control commands carry
 * the code in their `error` event.
 */
export const errorStatuses = {
  ...runnerRefusalStatuses,
  invalid_path: 400,
  invalid_project: 400,
  path_outside_project: 403,
  project_not_found: 404,
  unknown_command: 404,
  unsupported: 501,
  not_a_file: 409,
  not_a_directory: 409,
  changed_meanwhile: 409,
  workspace_in_use: 409,
  archive_too_large: 413,
  no_free_port: 503,
} as const satisfies Record<string, number>;

export type RunnerErrorCode = keyof typeof errorStatuses;

/** An expected failure: the message says what failed, which one and the likely remedy, and is safe to send. */
export class RunnerError extends Error {
  override readonly name = "RunnerError";
  readonly code: RunnerErrorCode;
  /** The part of the request that is wrong. */
  readonly field: string | undefined;

  constructor(code: RunnerErrorCode, message: string, field?: string) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

/** Whether this is the operating system's error with one of these codes. */
export function isSystemError(error: unknown, ...codes: string[]): error is NodeJS.ErrnoException {
  return (
    error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code)
  );
}

/** Whether this is any error of the operating system: its message names the call and the path. */
export function hasSystemCode(error: unknown): error is NodeJS.ErrnoException {
  return (
    error instanceof Error &&
    "code" in error &&
    typeof error.code === "string" &&
    /^E[A-Z0-9]+$/.test(error.code)
  );
}

/** What a caller may see of any failure: never a stack, a token or a path outside its project. */
export function asRunnerError(error: unknown): RunnerError {
  if (error instanceof RunnerError) return error;
  if (isSystemError(error, "ENOSPC", "EDQUOT")) {
    return new RunnerError(
      "disk_full",
      "The disk is full: delete projects or deployments, or enlarge the volume.",
    );
  }
  return new RunnerError("internal", "The runner failed; its log has the cause.");
}
