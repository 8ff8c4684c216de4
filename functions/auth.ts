import { Problem } from "./errors.ts";
import { AUTH_FAILURES_PER_MINUTE } from "./protocol/limits.ts";

const encoder = new TextEncoder();

/** Compares two secrets in a time that depends on neither their contents nor their lengths. */
export async function sameSecret(given: string, expected: string): Promise<boolean> {
  const [one, other] = await Promise.all([
    crypto.subtle.digest("SHA-256", encoder.encode(given)),
    crypto.subtle.digest("SHA-256", encoder.encode(expected)),
  ]);
  return crypto.subtle.timingSafeEqual(one, other);
}

export function bearerToken(request: Request): string | null {
  return /^Bearer ([^\s]+)$/i.exec(request.headers.get("authorization") ?? "")?.[1] ?? null;
}

/** Failed logins by client in this isolate, oldest first; a right token is never held up by somebody's wrong ones. */
const failures = new Map<string, { count: number; since: number }>();
const FAILURE_WINDOW_MS = 60_000;
/** About a hundred bytes each. */
const CLIENTS_REMEMBERED = 10_000;

/** Lets the holder of `expected` through, else throws `unauthorized` or, after too many, `too_many_attempts`. */
export async function requireBearer(
  request: Request,
  expected: string,
  client: string,
  remedy: string,
): Promise<void> {
  const given = bearerToken(request);
  if (given !== null && (await sameSecret(given, expected))) return;
  refuseLogin(client, remedy);
}

/** Counts one failed login and throws the answer to it. */
export function refuseLogin(client: string, remedy: string): never {
  countFailure(client);
  throw unauthorized(remedy);
}

/**
 * For a token that takes a look into the store to judge, so that wrong ones cost only so many looks: it counts as
 * failed from before the look until it turns out to be right, and behind an address that has failed too often nobody
 * is looked up. Returns what was found; throws as `requireBearer` does.
 */
export async function requireLookedUp<T>(
  client: string,
  remedy: string,
  look: () => Promise<T | null | false>,
): Promise<T> {
  const forgive = countFailure(client);
  let found: T | null | false;
  try {
    found = await look();
  } catch (error) {
    forgive();
    throw error;
  }
  if (found === null || found === false) throw unauthorized(remedy);
  forgive();
  return found;
}

/** Throws when there were too many; returns what takes this one back. */
function countFailure(client: string): () => void {
  const now = Date.now();
  const network = networkOf(client);
  let entry = failures.get(network);
  if (!entry || now - entry.since > FAILURE_WINDOW_MS) {
    failures.delete(network);
    // One goes for one, so that many addresses can't wipe out what is known of all of them.
    const oldest = failures.size >= CLIENTS_REMEMBERED ? failures.keys().next().value : undefined;
    if (oldest !== undefined) failures.delete(oldest);
    entry = { count: 0, since: now };
    failures.set(network, entry);
  }
  if (entry.count >= AUTH_FAILURES_PER_MINUTE) {
    throw new Problem("too_many_attempts", "Too many failed logins from this address. Wait a minute.", {
      headers: { "retry-after": "60" },
    });
  }
  entry.count += 1;
  const counted = entry;
  return () => {
    counted.count -= 1;
    if (counted.count === 0 && failures.get(network) === counted) failures.delete(network);
  };
}

function unauthorized(remedy: string): Problem {
  return new Problem("unauthorized", remedy, { headers: { "www-authenticate": 'Bearer realm="signalbox"' } });
}

/** Whoever has one IPv6 address has the 2^64 of its network, so they count as one. */
function networkOf(client: string): string {
  if (!client.includes(":")) return client;
  const [head = "", tail] = client.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => "0");
  return [...left, ...zeros, ...right].slice(0, 4).join(":");
}
