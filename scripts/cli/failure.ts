import { printableLine } from "../../functions/protocol/printable.ts";
import { RailwayError, type RailwayErrorKind } from "../../functions/railway/error.ts";
import { ControlProblem, ControlUnreachable } from "../client/control-client.ts";

/** How `signalbox` ends; documented in the README and stable. */
export const exitCodes = {
  done: 0,
  /** A deployment failed, or a call was refused. */
  failed: 1,
  /** Flags or arguments. */
  usage: 2,
  /** `signalbox.json`. */
  config: 3,
  /** No token, a wrong one, or one that isn't enough. */
  unauthorized: 4,
  /** The server, or Railway. */
  unreachable: 5,
  notFound: 6,
  /** A name that stands for several things. */
  ambiguous: 7,
  /** The Railway project lacks parts of the baseline. */
  incomplete: 8,
  interrupted: 130,
} as const;

export type ExitReason = Exclude<keyof typeof exitCodes, "done">;

/** Why a command ends without having done what was asked. The message says what failed, which one, and the remedy. */
export class Failure extends Error {
  override name = "Failure";
  readonly reason: ExitReason;
  /** Stable, for programs: `unknown_app`, `bad_config`. */
  readonly code: string;

  constructor(reason: ExitReason, code: string, message: string) {
    super(message);
    this.reason = reason;
    this.code = code;
  }

  get exitCode(): number {
    return exitCodes[this.reason];
  }
}

/** Whatever was thrown, as a failure with the exit code that fits; null for a mistake in this program. */
export function failureOf(error: unknown): Failure | null {
  if (error instanceof Failure) return error;
  if (error instanceof ControlUnreachable) {
    return new Failure(
      "unreachable",
      "server_unreachable",
      `${printableLine(error.message)} Is the address right, and is it up?`,
    );
  }
  if (error instanceof RailwayError) {
    return new Failure(railwayReasons[error.kind], `railway_${error.kind}`, printableLine(error.message));
  }
  if (!(error instanceof ControlProblem)) return null;
  const { status } = error;
  const [code, message] = [printableLine(error.code), printableLine(error.message)];
  if (status === 401) {
    const what = /^This (?:access|signed) token/.test(message) ? message : "The control token is wrong.";
    return new Failure("unauthorized", code, `${what} ${LOGIN_REMEDY}`);
  }
  if (code === "insufficient_scope") return new Failure("unauthorized", code, message);
  if (code === "too_many_attempts") return new Failure("unauthorized", code, message);
  if (code === "unknown_app") return new Failure("notFound", code, message.replace(/ Create it with.*/, ""));
  if (status === 404) return new Failure("notFound", code, message);
  return new Failure("failed", code, message);
}

const railwayReasons: Record<RailwayErrorKind, ExitReason> = {
  unreachable: "unreachable",
  rate_limited: "unreachable",
  server: "unreachable",
  unauthorized: "unauthorized",
  not_found: "notFound",
  refused: "failed",
  malformed: "failed",
};

export const LOGIN_REMEDY = "Give the right one: signalbox login, SIGNALBOX_TOKEN or --control-token.";
