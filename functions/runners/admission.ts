import { Problem } from "../errors.ts";
import type { SocketCall } from "./hub-call.ts";
import { isEnrolled, type RunnerRecord } from "./registry.ts";

/** How a runner is let in. */
export interface Admission {
  /** By its own credential: revoking that ends the connection. */
  ownCredential: boolean;
  /** The credential is used for the first time. */
  enrols: boolean;
}

/**
 * Whether a runner may connect under its id, whose record this is. Its Bearer secret was right before; only the hub knows
 * whether that has changed, and which of two that enrol at once came first.
 */
export function admit(call: SocketCall, record: RunnerRecord | null): Admission | Problem {
  const { runnerId, credentialSha256 } = call;
  const known = record?.credentialSha256 ?? null;
  const enrolled = isEnrolled(record);
  const isOwn = known !== null && credentialSha256 === known;
  if (call.ownCredential) {
    // A Worker of before enrolment sends no hash, and has looked itself.
    if (isOwn || credentialSha256 === undefined) return { ownCredential: true, enrols: isOwn && !enrolled };
    return new Problem("unauthorized", `The credential of runner ${runnerId} was revoked.`);
  }
  // It enrols again since it hasn't heard of its success.
  if (isOwn) return { ownCredential: true, enrols: !enrolled };
  if (enrolled) {
    return new Problem(
      "runner_enrolled",
      `Runner ${runnerId} has enrolled: RUNNER_SHARED_SECRET alone doesn't open it. If it lost its credential: ` +
        `signalbox runners credentials ${runnerId} --revoke, and it enrols again.`,
    );
  }
  // An operator has issued a credential, and the runner is about to get it: enrolling would undo that.
  const mayEnrol = known === null;
  if (credentialSha256 !== undefined && mayEnrol) return { ownCredential: true, enrols: true };
  if (call.mustEnrol !== true) return { ownCredential: false, enrols: false };
  return new Problem(
    "enrolment_required",
    mayEnrol
      ? `Runner ${runnerId} can't enrol, and RUNNER_ENROLMENT is required here. Give it a credential: ` +
          `signalbox runners credentials ${runnerId}.`
      : `Runner ${runnerId} was given a credential: start it with that, or revoke it.`,
  );
}
