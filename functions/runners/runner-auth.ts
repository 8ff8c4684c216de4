import { bearerToken, refuseLogin, requireLookedUp, sameSecret } from "../auth.ts";
import type { Config } from "../config.ts";
import { Problem } from "../errors.ts";
import {
  CREDENTIAL_BYTES,
  CREDENTIAL_HEADER,
  CREDENTIAL_PATTERN,
  CREDENTIAL_PREFIX,
} from "../protocol/enrolment.ts";
import { StoreUnavailable, type StateStore } from "../state/store.ts";
import type { SocketCall } from "./hub-call.ts";
import { hubOf, type HubBinding } from "./reach-hub.ts";
import { readRunner } from "./registry.ts";

const RUNNER_REMEDY = "Send RUNNER_SHARED_SECRET, or the runner's own credential, as a Bearer token.";

/** A new secret for one runner, and what is stored of it. */
export async function newCredential(): Promise<{ secret: string; sha256: string }> {
  const bytes = crypto.getRandomValues(new Uint8Array(CREDENTIAL_BYTES));
  const secret = CREDENTIAL_PREFIX + hex(bytes);
  return { secret, sha256: await sha256(secret) };
}

/** Who commands runners by the broker's endpoints. */
export type BrokerClient = "operator" | "shared-secret";

/** Lets holders of a shared secret or of the control token through; throws as `requireBearer` does. */
export async function requireBrokerClient(
  request: Request,
  config: Config,
  client: string,
): Promise<BrokerClient> {
  const given = bearerToken(request);
  if (given !== null && (await sameSecret(given, config.controlToken))) return "operator";
  requireConfigured(config);
  if (given !== null && (await isShared(given, config))) return "shared-secret";
  refuseLogin(client, "Send CONTROL_TOKEN or RUNNER_SHARED_SECRET as a Bearer token.");
}

/** What a runner came with; the hub has the last word. */
export type RunnerLogin = Pick<SocketCall, "ownCredential" | "credentialSha256">;

/** Lets a runner through that comes with its own credential or with a shared secret. */
export async function requireRunner(
  request: Request,
  runnerId: string,
  context: { env: HubBinding; config: Config; store: StateStore; client: string },
): Promise<RunnerLogin> {
  const given = bearerToken(request);
  if (given !== null && CREDENTIAL_PATTERN.test(given)) {
    const credentialSha256 = await sha256(given);
    await requireLookedUp(context.client, RUNNER_REMEDY, () => isKnown(runnerId, credentialSha256, context));
    return { ownCredential: true, credentialSha256 };
  }
  requireConfigured(context.config);
  if (given === null || !(await isShared(given, context.config))) refuseLogin(context.client, RUNNER_REMEDY);
  const enrols = request.headers.get(CREDENTIAL_HEADER);
  if (enrols === null) return { ownCredential: false };
  if (!CREDENTIAL_PATTERN.test(enrols)) {
    throw new Problem("invalid_request", `${CREDENTIAL_HEADER} must be sbr_ and 64 hexadecimal digits.`, {
      errors: [{ field: `header.${CREDENTIAL_HEADER}`, message: "is malformed" }],
    });
  }
  return { ownCredential: false, credentialSha256: await sha256(enrols) };
}

/**
 * The hub is asked only where the registry can't say: the store is away, or has an older record. So made-up ids wake no
 * hubs.
 */
async function isKnown(
  runnerId: string,
  credentialSha256: string,
  { env, store }: { env: HubBinding; store: StateStore },
): Promise<boolean> {
  try {
    const record = await readRunner(store, runnerId);
    if (record === null) return false;
    const { credentialSha256: known } = record;
    if (known !== null && (await sameSecret(credentialSha256, known))) return true;
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
  }
  return hubOf(env, runnerId).knowsCredential(credentialSha256);
}

function requireConfigured(config: Config): void {
  if (config.runnerSecrets.length > 0) return;
  throw new Problem(
    "runner_secret_unset",
    "RUNNER_SHARED_SECRET is not set, so only runners with a credential of their own can connect: " +
      "`npx wrangler secret put` it.",
  );
}

/** Compares with every secret, so the time taken reveals nothing. */
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
