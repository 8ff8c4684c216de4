import { bearerToken, refuseLogin, requireLookedUp, sameSecret } from "../auth.ts";
import type { Config } from "../config.ts";
import { Problem } from "../errors.ts";
import type { StateStore } from "../state/store.ts";
import { readRunner } from "./registry.ts";

/** Marks a runner's own credential: only these cost a read of the store. */
const CREDENTIAL_PREFIX = "sbr_";
const CREDENTIAL_BYTES = 32;
const CREDENTIAL_PATTERN = new RegExp(`^${CREDENTIAL_PREFIX}[0-9a-f]{${2 * CREDENTIAL_BYTES}}$`);

const RUNNER_REMEDY = "Send RUNNER_SHARED_SECRET, or the runner's own credential, as a Bearer token.";

/** A new secret for one runner, and what is stored of it. */
export async function newCredential(): Promise<{ secret: string; sha256: string }> {
  const bytes = crypto.getRandomValues(new Uint8Array(CREDENTIAL_BYTES));
  const secret = CREDENTIAL_PREFIX + hex(bytes);
  return { secret, sha256: await sha256(secret) };
}

/** Lets holders of a shared secret through; throws as `requireBearer` does. */
export async function requireSharedSecret(request: Request, config: Config, client: string): Promise<void> {
  requireConfigured(config);
  const given = bearerToken(request);
  if (given !== null && (await isShared(given, config))) return;
  refuseLogin(client, "Send RUNNER_SHARED_SECRET as a Bearer token.");
}

/** Lets a runner through, and says whether it came with its own credential. */
export async function requireRunner(
  request: Request,
  runnerId: string,
  context: { config: Config; store: StateStore; client: string },
): Promise<{ ownCredential: boolean }> {
  requireConfigured(context.config);
  const given = bearerToken(request);
  if (given !== null && (await isShared(given, context.config))) return { ownCredential: false };
  if (given === null || !CREDENTIAL_PATTERN.test(given)) refuseLogin(context.client, RUNNER_REMEDY);
  await requireLookedUp(context.client, RUNNER_REMEDY, async () => {
    const record = await readRunner(context.store, runnerId);
    const expected = record?.credentialSha256 ?? null;
    return expected !== null && (await sameSecret(await sha256(given), expected));
  });
  return { ownCredential: true };
}

function requireConfigured(config: Config): void {
  if (config.runnerSecrets.length > 0) return;
  throw new Problem(
    "runner_secret_unset",
    "RUNNER_SHARED_SECRET is not set, so no runner can connect: `npx wrangler secret put` it.",
  );
}

/** Compares with all, so that the time tells nothing. */
async function isShared(given: string, config: Config): Promise<boolean> {
  const matches = await Promise.all(config.runnerSecrets.map((secret) => sameSecret(given, secret)));
  return matches.includes(true);
}

async function sha256(text: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
