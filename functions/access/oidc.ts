import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import { z } from "zod";
import { StoreUnavailable } from "../state/store.ts";
import { scope } from "./scopes.ts";

/** Source: GitHub's documentation of OpenID Connect in Actions. */
const GITHUB = "https://token.actions.githubusercontent.com";
const AUDIENCE = "signalbox";
const CLOCK_TOLERANCE_SECONDS = 30;
const KEYS_TIMEOUT_MS = 5_000;

/** Whose workflows may do what without a secret. */
const trustEntry = z.strictObject({
  issuer: z.url({ protocol: /^https?$/ }).default(GITHUB),
  /** Where the issuer's keys are; GitHub's place below the issuer by default. */
  keys: z.url({ protocol: /^https?$/ }).optional(),
  audience: z.string().min(1).default(AUDIENCE),
  repository: z.string().regex(/^[\w.-]+\/[\w.-]+$/),
  /** `*`: any, and tags and pull requests too. */
  branch: z.string().min(1),
  scopes: z.array(scope).min(1),
});

export type Trust = z.infer<typeof trustEntry>;

const claims = z.object({ repository: z.string(), ref: z.string() });

/** Null: that isn't such a list. `http` is for tests: whoever is on the way could change the keys. */
export function parseTrust(text: string, { allowHttp }: { allowHttp: boolean }): Trust[] | null {
  try {
    const list = z.array(trustEntry).max(100).parse(JSON.parse(text));
    const isSafe = ({ issuer, keys = "https:" }: Trust): boolean =>
      issuer.startsWith("https:") && keys.startsWith("https:");
    return allowHttp || list.every(isSafe) ? list : null;
  } catch {
    return null;
  }
}

/** Whether it looks like a signed token of somebody else's. */
export function isSignedToken(token: string): boolean {
  return /^ey[\w-]+\.[\w-]+\.[\w-]+$/.test(token);
}

/**
 * Who comes with a token that an issuer in the list has signed, for an entry of theirs; else null. Rejects with
 * {@link StoreUnavailable} while the issuer's keys can't be had: then nobody knows.
 */
export async function identify(
  token: string,
  trusted: readonly Trust[],
  now: number,
): Promise<{ name: string; scopes: string[] } | null> {
  for (const some of distinct(trusted)) {
    const verified = await jwtVerify(token, keySet(keysOf(some)), {
      issuer: some.issuer,
      audience: some.audience,
      algorithms: ["RS256", "ES256"],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: new Date(now),
      requiredClaims: ["exp", "iat"],
    }).catch(whyNot);
    const { data } = claims.safeParse(verified?.payload);
    if (data === undefined) continue;
    const entries = trusted.filter(
      (one) =>
        signerOf(one) === signerOf(some) &&
        one.repository === data.repository &&
        (one.branch === "*" || data.ref === `refs/heads/${one.branch}`),
    );
    if (entries.length === 0) continue;
    return { name: `${data.repository} ${data.ref}`, scopes: entries.flatMap(({ scopes }) => scopes) };
  }
  return null;
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

/** One for each signer. */
function distinct(trusted: readonly Trust[]): Trust[] {
  return [...new Map(trusted.map((one) => [signerOf(one), one])).values()];
}

function signerOf(one: Trust): string {
  return `${one.issuer} ${one.audience} ${keysOf(one)}`;
}

function keysOf({ issuer, keys }: Trust): string {
  return keys ?? `${issuer}/.well-known/jwks`;
}

/** One for each address: it keeps the keys, and asks again for one that it doesn't know, now and then. */
const keySets = new Map<string, ReturnType<typeof createRemoteJWKSet>>();

function keySet(url: string): ReturnType<typeof createRemoteJWKSet> {
  const known = keySets.get(url) ?? createRemoteJWKSet(new URL(url), { timeoutDuration: KEYS_TIMEOUT_MS });
  keySets.set(url, known);
  return known;
}
