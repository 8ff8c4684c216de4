import { sameSecret } from "../auth.ts";

/** A login lasts a working day. */
const SESSION_SECONDS = 12 * 60 * 60;
const COOKIE = "signalbox-session";

/** A cookie that proves, until it expires, that its holder knew the control token. Nothing is stored. */
export async function sessionCookie(controlToken: string, now: number, secure: boolean): Promise<string> {
  const expires = Math.floor(now / 1_000) + SESSION_SECONDS;
  const value = `${expires}.${await sign(controlToken, String(expires))}`;
  const flags = `Path=/_signalbox; Max-Age=${SESSION_SECONDS}; HttpOnly; SameSite=Strict${secure ? "; Secure" : ""}`;
  return `${COOKIE}=${value}; ${flags}`;
}

export const endedSessionCookie = `${COOKIE}=; Path=/_signalbox; Max-Age=0; HttpOnly; SameSite=Strict`;

export async function hasSession(request: Request, controlToken: string, now: number): Promise<boolean> {
  const cookies = request.headers.get("cookie") ?? "";
  const match = /(?:^|;\s*)signalbox-session=(\d{1,12})\.([0-9a-f]{64})(?:;|$)/.exec(cookies);
  const [, expires = "", signature = ""] = match ?? [];
  if (Number(expires) * 1_000 <= now) return false;
  return sameSecret(signature, await sign(controlToken, expires));
}

async function sign(controlToken: string, text: string): Promise<string> {
  const encoder = new TextEncoder();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(controlToken), algorithm, false, ["sign"]);
  const mac = await crypto.subtle.sign("HMAC", key, encoder.encode(`signalbox dashboard session ${text}`));
  return [...new Uint8Array(mac)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
