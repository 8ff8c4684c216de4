import { z } from "zod";
import { scope } from "./scopes.ts";
import { isSignedToken, verifySigned, type Signer } from "./signed-token.ts";

/** Cloudflare adds it to each request that it lets through to a host that Access protects. */
export const ACCESS_HEADER = "cf-access-jwt-assertion";

/** Source: Cloudflare's documentation of Access, "Validate JWTs". */
const KEYS_PATH = "/cdn-cgi/access/certs";

export interface AccessSettings {
  signer: Signer;
  /** What everybody may do whom Access lets in; null: everything. */
  scopes: readonly string[] | null;
}

/** Of people the email, of service tokens the client id. Whoever reads the audit log sees it: one short line. */
const claims = z
  .object({ email: z.string().optional(), common_name: z.string().optional() })
  .transform(({ email, common_name: commonName }) => email || commonName || "")
  .pipe(z.string().regex(/^[\u0021-\u007e]{1,254}$/));

/** Null: that isn't a team's domain. `http` is for tests: whoever is on the way could change the keys. */
export function accessSigner(
  team: string,
  audience: string,
  { allowHttp }: { allowHttp: boolean },
): Signer | null {
  const issuer = /^https?:\/\//.test(team) ? team.replace(/\/$/, "") : `https://${team}`;
  const url = URL.parse(issuer);
  if (url === null || url.origin !== issuer || (url.protocol !== "https:" && !allowHttp)) return null;
  return { issuer, audience, keys: `${issuer}${KEYS_PATH}` };
}

/** Null: that isn't a list of scopes. */
export function accessScopes(text: string): string[] | null {
  return (
    z
      .array(scope)
      .min(1)
      .safeParse(text.split(",").map((one) => one.trim())).data ?? null
  );
}

/** Who comes with an assertion of Access for this installation, and until when it holds; null: nobody. */
export async function identifyPerson(
  assertion: string,
  { signer }: AccessSettings,
  now: number,
): Promise<{ name: string; expiresAt: number } | null> {
  if (!isSignedToken(assertion)) return null;
  const payload = await verifySigned(assertion, signer, now);
  const name = claims.safeParse(payload).data;
  return payload === null || name === undefined ? null : { name, expiresAt: Number(payload.exp) * 1_000 };
}
