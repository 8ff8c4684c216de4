import type { z } from "zod";
import { Problem } from "../errors.ts";
import { COMMAND_WAIT_LIMIT_SECONDS, IDEMPOTENCY_TTL_SECONDS } from "../protocol/limits.ts";
import { StoreUnavailable, type AuditEntry } from "../state/store.ts";
import { OPERATOR } from "./app-change.ts";
import type { ControlContext } from "./context.ts";
import { replay, type Idempotency } from "./idempotency.ts";

/** Longer than any of these takes. What dies in between may be repeated then. */
const UNDER_WAY_MS = (COMMAND_WAIT_LIMIT_SECONDS + 60) * 1_000;

/** A change of something other than an app's document: a runner, an upload, a run of the janitor. */
export interface Act<T, R> {
  /** `runner.drain`: what the audit log calls it. */
  action: string;
  /** Who the audit log says it was; the operator, unless somebody else may do it, too. */
  actor?: string;
  /** The app that it belongs to, where it does to one. */
  app?: string;
  /** What is changed, for messages and the audit log. */
  subject?: { kind: "runner" | "deployment"; id: string };
  act: () => Promise<T>;
  /** What the audit log says of it; never a secret and never a payload. */
  details?: (answer: T) => AuditEntry["details"];
  /** What is remembered for a repetition; never a secret. */
  remember: { schema: z.ZodType<R>; of: (answer: T) => R };
  /** How a repetition answers. */
  repeated: (remembered: R) => T;
}

/**
 * Acts, and writes the audit entry. With an Idempotency-Key it acts once: a repetition answers from what the first
 * request came to, and is refused while that is under way. If the entry can't be written, a repetition acts again.
 */
export async function actOnce<T, R>(
  context: ControlContext,
  idempotency: Idempotency,
  act: Act<T, R>,
): Promise<T> {
  const earlier = await recall(context, idempotency, act);
  if (earlier !== null) return earlier.answer;
  const work = alone(context, idempotency, act);
  // A client that leaves takes its request along, not the entry about what it did.
  context.waitUntil(work.catch(() => undefined));
  return work;
}

async function alone<T, R>(context: ControlContext, idempotency: Idempotency, act: Act<T, R>): Promise<T> {
  if (idempotency === null) return carryOut(context, null, act);
  const { store } = context;
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
    // The one before may have ended between the look and the lease.
    const earlier = await recall(context, idempotency, act);
    return earlier !== null ? earlier.answer : await carryOut(context, idempotency, act);
  } finally {
    await store.releaseLease(lease, token).catch(() => undefined); // it ends by itself
  }
}

async function carryOut<T, R>(
  { store, now }: ControlContext,
  idempotency: Idempotency,
  act: Act<T, R>,
): Promise<T> {
  const { action, actor = OPERATOR, app = null, subject, details, remember } = act;
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
  const operation = idempotency && {
    ...idempotency,
    result: JSON.stringify(remember.of(answer)),
    ttlSeconds: IDEMPOTENCY_TTL_SECONDS,
  };
  try {
    await store.recordOperation(audit, operation);
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    const on = subject === undefined ? "" : ` on ${subject.kind} ${subject.id}`;
    throw new StoreUnavailable(`${action} was carried out${on} but not recorded. ${error.message}`);
  }
  return answer;
}

async function recall<T, R>(
  { store }: ControlContext,
  idempotency: Idempotency,
  { remember, repeated }: Act<T, R>,
): Promise<{ answer: T } | null> {
  const record = idempotency && (await store.readOperation(idempotency.key));
  return record && { answer: repeated(replay(record, idempotency, remember.schema)) };
}
