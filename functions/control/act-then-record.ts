import type { z } from "zod";
import { Problem } from "../errors.ts";
import { COMMAND_WAIT_LIMIT_SECONDS, IDEMPOTENCY_TTL_SECONDS } from "../protocol/limits.ts";
import { StoreUnavailable, type AuditEntry } from "../state/store.ts";
import type { ControlContext } from "./context.ts";
import { replay, type Idempotency } from "./idempotency.ts";

/** Longer than any act takes. If one dies, its key works again after this. */
const UNDER_WAY_MS = (COMMAND_WAIT_LIMIT_SECONDS + 60) * 1_000;

/** An audited change of anything but an app's document: a runner, an upload, a run of the janitor. */
export interface Act<T, R> {
  /** Its name in the audit log, like `runner.drain`. */
  action: string;
  /** Who did it, for the audit log; the caller by default. */
  actor?: string;
  /** The app that it belongs to, if any. */
  app?: string;
  /** What it changes, for messages and the audit log. */
  subject?: { kind: "runner" | "deployment" | "project" | "build"; id: string };
  act: () => Promise<T>;
  /** More for the audit log; never a secret or a payload. */
  details?: (answer: T) => AuditEntry["details"];
  /** What is kept for a repeat; never a secret. */
  remember: { schema: z.ZodType<R>; of: (answer: T) => R };
  /** How a repeat answers. */
  repeated: (remembered: R) => T;
}

/**
 * The way to change anything but an app; `commitChange` tells the two apart. With an Idempotency-Key it acts once: a repeat
 * answers as the first request did, and is refused while that is under way. If the audit entry can't be written, the call
 * fails, and a repeat acts again.
 */
export async function actThenRecord<T, R>(
  context: ControlContext,
  idempotency: Idempotency,
  act: Act<T, R>,
): Promise<T> {
  const earlier = await earlierAct(context, idempotency, act);
  if (earlier !== null) return earlier.answer;
  const work = alone(context, idempotency, act);
  // A client that leaves ends its request, but the audit entry must still be written.
  context.waitUntil(work.catch(() => undefined));
  return work;
}

async function alone<T, R>(context: ControlContext, idempotency: Idempotency, act: Act<T, R>): Promise<T> {
  if (idempotency === null) return carryOut(context, null, act);
  const { store } = context;
  // Stored under the word of the first builds, as is the code below: clients know it.
  const lease = `operation:${idempotency.key}`;
  const token = crypto.randomUUID();
  if (!(await store.acquireLease(lease, token, UNDER_WAY_MS)).acquired) {
    throw new Problem(
      "operation_under_way",
      "A request with this Idempotency-Key is under way. Repeat it when that has been answered or given up.",
      { errors: [{ field: "header.idempotency-key", message: "belongs to a request that is under way" }] },
    );
  }
  try {
    // An earlier request may have ended between `earlierAct` and the lease.
    const earlier = await earlierAct(context, idempotency, act);
    return earlier !== null ? earlier.answer : await carryOut(context, idempotency, act);
  } finally {
    await store.releaseLease(lease, token).catch(() => undefined); // it expires
  }
}

async function carryOut<T, R>(
  { store, now, caller }: ControlContext,
  idempotency: Idempotency,
  act: Act<T, R>,
): Promise<T> {
  const { action, actor = caller.actor, app = null, subject, details, remember } = act;
  const answer = await act.act();
  const audit: AuditEntry = {
    at: now(),
    app,
    actor,
    action,
    fromVersion: null,
    toVersion: null,
    details: { ...(subject && { [subject.kind]: subject.id }), ...details?.(answer) },
  };
  const idempotencyRecord = idempotency && {
    ...idempotency,
    result: JSON.stringify(remember.of(answer)),
    ttlSeconds: IDEMPOTENCY_TTL_SECONDS,
  };
  try {
    await store.writeAudit(audit, idempotencyRecord);
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    const on = subject === undefined ? "" : ` on ${subject.kind} ${subject.id}`;
    throw new StoreUnavailable(`${action} was carried out${on} but not recorded. ${error.message}`);
  }
  return answer;
}

async function earlierAct<T, R>(
  { store }: ControlContext,
  idempotency: Idempotency,
  { remember, repeated }: Act<T, R>,
): Promise<{ answer: T } | null> {
  const record = idempotency && (await store.readIdempotencyRecord(idempotency.key));
  return record && { answer: repeated(replay(record, idempotency, remember.schema)) };
}
