import { Problem } from "./errors.ts";

/** Tries in all; an object that a deploy moved is back at the second or third. */
const TRIES_LIMIT = 4;
const FIRST_DELAY_MS = 50;
const DELAY_LIMIT_MS = 1_000;

export interface ObjectCall<Stub, T> {
  /** Gives a stub: one that has seen its object fail stays broken, so each try takes its own. */
  open: () => Stub;
  send: (stub: Stub) => Promise<T>;
  /** Whether sending it twice means the same as sending it once: it reads, sets, or carries an Idempotency-Key. */
  isRepeatable: boolean;
  /** No try begins after it, epoch milliseconds. */
  deadline?: number;
}

/**
 * Calls a Durable Object, and again after an error that passes, where that is safe. The runtime itself repeats calls that
 * it knows never arrived; these are the others. An object that is overloaded is left alone.
 *
 * @see https://developers.cloudflare.com/durable-objects/best-practices/error-handling
 */
export async function callObject<Stub, T>(call: ObjectCall<Stub, T>): Promise<T> {
  const { open, send, isRepeatable, deadline = Infinity } = call;
  for (let tries = 1; ; tries++) {
    try {
      return await send(open());
    } catch (error) {
      if (!isTransient(error)) throw error;
      const delayMs = Math.random() * Math.min(DELAY_LIMIT_MS, FIRST_DELAY_MS * 2 ** tries);
      if (!isRepeatable || tries === TRIES_LIMIT || Date.now() + delayMs > deadline)
        throw objectUnavailable(error);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
}

/**
 * Marked by the platform as one that passes, or the object was reset under the call and the next stub finds a new one. An
 * overloaded object gets more time from its callers, not more calls.
 */
export function isTransient(error: unknown): error is Error {
  if (!(error instanceof Error) || isMarked(error, "overloaded")) return false;
  return isMarked(error, "retryable") || isMarked(error, "durableObjectReset");
}

function isMarked(error: Error, mark: string): boolean {
  return Reflect.get(error, mark) === true;
}

export function objectUnavailable(error: Error): Problem {
  return new Problem(
    "object_unavailable",
    `A Durable Object lost the call (${error.message.slice(0, 200)}). It may have been carried out all the same: ` +
      "look, and try again shortly.",
    { headers: { "retry-after": "2" } },
  );
}
