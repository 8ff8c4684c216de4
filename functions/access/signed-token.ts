import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload } from "jose";
import { StoreUnavailable } from "../state/store.ts";

const CLOCK_TOLERANCE_SECONDS = 30;
const KEYS_TIMEOUT_MS = 5_000;

/** Who signs tokens, for whom, and where the keys are. */
export interface Signer {
  issuer: string;
  audience: string;
  keys: string;
}

/** Whether it looks like a signed token of somebody else's. */
export function isSignedToken(token: string): boolean {
  return /^ey[\w-]+\.[\w-]+\.[\w-]+$/.test(token);
}

/**
 * What a token says that this signer has signed for this audience; null for any other. Rejects with
 * {@link StoreUnavailable} while the signer's keys can't be had: then nobody knows.
 */
export async function verifySigned(
  token: string,
  { issuer, audience, keys }: Signer,
  now: number,
): Promise<JWTPayload | null> {
  const verified = await jwtVerify(token, keySet(keys), {
    issuer,
    audience,
    algorithms: ["RS256", "ES256"],
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    currentDate: new Date(now),
    requiredClaims: ["exp", "iat"],
  }).catch(whyNot);
  return verified?.payload ?? null;
}

/** A token that isn't right is null; an issuer that can't be reached is nobody's fault. */
function whyNot(error: unknown): null {
  const isWrong =
    error instanceof errors.JOSEError &&
    !(error instanceof errors.JWKSTimeout) &&
    !(error instanceof errors.JWKSInvalid) &&
    error.code !== "ERR_JOSE_GENERIC";
  if (isWrong) return null;
  throw new StoreUnavailable("The keys of a token's issuer can't be had.");
}

/** One for each address: it keeps the keys, and asks again for one that it doesn't know, now and then. */
const keySets = new Map<string, ReturnType<typeof createRemoteJWKSet>>();

function keySet(url: string): ReturnType<typeof createRemoteJWKSet> {
  const known = keySets.get(url) ?? createRemoteJWKSet(new URL(url), { timeoutDuration: KEYS_TIMEOUT_MS });
  keySets.set(url, known);
  return known;
}
