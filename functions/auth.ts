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

/** Counts failed logins by client in this isolate; a right token is never held up by somebody's wrong ones. */
const failures = new Map<string, { count: number; since: number }>();
const FAILURE_WINDOW_MS = 60_000;
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
  const now = Date.now();
  const entry = failures.get(client);
  if (!entry || now - entry.since > FAILURE_WINDOW_MS) {
    if (failures.size >= CLIENTS_REMEMBERED) failures.clear();
    failures.set(client, { count: 1, since: now });
  } else if (++entry.count > AUTH_FAILURES_PER_MINUTE) {
    throw new Problem("too_many_attempts", "Too many failed logins from this address. Wait a minute.", {
      headers: { "retry-after": "60" },
    });
  }
  throw new Problem("unauthorized", remedy, { headers: { "www-authenticate": 'Bearer realm="signalbox"' } });
}
