import { z } from "zod";
import { scope } from "./scopes.ts";
import { verifySigned } from "./signed-token.ts";

/** Source: GitHub's documentation of OpenID Connect in Actions. */
const GITHUB = "https://token.actions.githubusercontent.com";
const AUDIENCE = "signalbox";

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

/**
 * Who comes with a token that an issuer in the list has signed, for an entry of theirs; else null. Rejects as
 * {@link verifySigned} does.
 */
export async function identify(
  token: string,
  trusted: readonly Trust[],
  now: number,
): Promise<{ name: string; scopes: string[] } | null> {
  for (const some of distinct(trusted)) {
    const signer = { issuer: some.issuer, audience: some.audience, keys: keysOf(some) };
    const { data } = claims.safeParse(await verifySigned(token, signer, now));
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
