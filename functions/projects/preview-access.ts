import { z } from "zod";
import { PREVIEW_COOKIE } from "../own-cookies.ts";

/** What a link or a cookie opens: one port of one project's preview at one epoch, until a time. */
const grant = z.object({
  kind: z.enum(["link", "cookie"]),
  slug: z.string(),
  /** Null: the dev server's own, whichever it is. */
  port: z.int().nullable().default(null),
  /** Of a link that opens once; what it opens has it, too. */
  nonce: z.string().nullable().default(null),
  epoch: z.int(),
  /** Epoch milliseconds. */
  expiresAt: z.number(),
});
export type Grant = z.infer<typeof grant>;

/** Ours, and not those of a former token: a new CONTROL_TOKEN closes every preview. */
async function keyOf(controlToken: string): Promise<CryptoKey> {
  const secret = new TextEncoder().encode(`signalbox preview v1\n${controlToken}`);
  return crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
}

/** `PAYLOAD.SIGNATURE`, both base64url. */
export async function signGrant(value: Grant, controlToken: string): Promise<string> {
  const payload = new TextEncoder().encode(JSON.stringify(value));
  const signature = await crypto.subtle.sign("HMAC", await keyOf(controlToken), payload);
  return `${encode(payload)}.${encode(new Uint8Array(signature))}`;
}

/** Null for anything that we didn't sign for this very use, and for what has expired. */
export async function readGrant(
  text: string,
  wanted: { kind: Grant["kind"]; slug: string; port: number | null; epoch: number; now: number },
  controlToken: string,
): Promise<Grant | null> {
  const [payload, signature, ...more] = text.split(".").map(decode);
  if (!payload || !signature || more.length > 0) return null;
  if (!(await crypto.subtle.verify("HMAC", await keyOf(controlToken), signature, payload))) return null;
  const value = grant.parse(JSON.parse(new TextDecoder().decode(payload)));
  const { kind, slug, port, epoch, now } = wanted;
  const isOfPlace = value.slug === slug && value.port === port && value.epoch === epoch;
  const isWanted = value.kind === kind && isOfPlace;
  return isWanted && value.expiresAt > now ? value : null;
}

/**
 * For frames on other sites, too: `SameSite=None; Partitioned` needs `Secure`, which browsers also take on localhost. Host-only:
 * the cookie of one preview reaches no other.
 */
export function grantCookie(token: string, maxAgeSeconds: number): string {
  return `${PREVIEW_COOKIE}=${token}; Max-Age=${maxAgeSeconds}; Path=/; Secure; HttpOnly; SameSite=None; Partitioned`;
}

/** Every cookie of that name: an app can't hide ours behind one of its own. */
export function grantsIn(cookies: string): string[] {
  return cookies
    .split(/[;,]\s*/)
    .filter((pair) => pair.startsWith(`${PREVIEW_COOKIE}=`))
    .map((pair) => pair.slice(PREVIEW_COOKIE.length + 1))
    .slice(0, 4);
}

function encode(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
}

function decode(text: string): Uint8Array<ArrayBuffer> | null {
  if (!/^[\w-]{1,2000}$/.test(text)) return null;
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  } catch {
    return null;
  }
}
