import { sameSecret } from "../auth.ts";
import type { Config } from "../config.ts";
import { operatorCookieName } from "../operator-cookie.ts";
import type { StateStore } from "../state/store.ts";

/** A sign-in lasts a working day. */
const SIGN_IN_SECONDS = 12 * 60 * 60;
/** Sign-ins at a time; one more ends the oldest. */
const SIGN_INS_LIMIT = 32;
/** Cookies of our name that are looked at, since other ports of the host may set some: Chromium keeps so many of a domain. */
const COOKIES_LIMIT = 180;
/** Of those that we signed, so many are looked up. */
const LOOKS_LIMIT = 16;
const KIND = "operator-sign-in";

/** The key's header. No other origin can send it: that takes an answer to a preflight, and we give none. */
export const KEY_HEADER = "x-signalbox-key";

/**
 * A sign-in is a record in the store, a cookie and a key. The cookie is HttpOnly, but reaches every port of the host;
 * the key is in the storage of the dashboard's origin, which no other port reads. Neither is worth anything without the
 * other, or once the record is gone. The store holds hashes only.
 */
export interface SignInContext {
  config: Config;
  store: StateStore;
  now: () => number;
  /** The dashboard's own, without the scheme. */
  authority: string;
}

interface SignInRecord {
  /** Epoch milliseconds. */
  expiresAt: number;
  keyHash: string;
}

export async function startSignIn(
  context: SignInContext,
  secure: boolean,
): Promise<{ cookie: string; key: string }> {
  const { store, now, config, authority } = context;
  const expiresAt = now() + SIGN_IN_SECONDS * 1_000;
  const id = randomText();
  const key = randomText();
  await makeRoom(store, now());
  const record: SignInRecord = { expiresAt, keyHash: await hash(key) };
  await store.writeRecord(KIND, await hash(id), JSON.stringify(record));
  const name = operatorCookieName(secure, portOf(authority));
  const value = `${id}.${await sign(config.controlToken, `${name} ${authority} ${id}`)}`;
  return { cookie: `${name}=${value}; Max-Age=${SIGN_IN_SECONDS}; ${flags(secure)}`, key };
}

/** The id of the sign-in that a request carries cookie and key of; null where there is none. */
export async function findSignIn(request: Request, context: SignInContext): Promise<string | null> {
  const key = request.headers.get(KEY_HEADER);
  if (key === null) return null;
  const keyHash = await hash(key);
  for (const id of (await signedIds(request, context)).slice(0, LOOKS_LIMIT)) {
    const body = await context.store.readRecord(KIND, await hash(id));
    const record = body === null ? null : parseRecord(body);
    if (record === null || record.expiresAt <= context.now()) continue;
    if (await sameSecret(keyHash, record.keyHash)) return id;
  }
  return null;
}

export async function endSignIn(id: string, store: StateStore): Promise<void> {
  await store.deleteRecord(KIND, await hash(id));
}

/** What makes a browser forget the cookie. */
export function endedCookies(authority: string): string[] {
  return [true, false].map(
    (secure) => `${operatorCookieName(secure, portOf(authority))}=; Max-Age=0; ${flags(secure)}`,
  );
}

/**
 * Wrong cookies end here, before the store is asked; so do all of them once the control token has changed. Another port
 * can put the cookie of an ended sign-in before the right one, hence several.
 */
async function signedIds(request: Request, { config, authority }: SignInContext): Promise<string[]> {
  const names = [true, false].map((secure) => operatorCookieName(secure, portOf(authority)));
  const cookies = (request.headers.get("cookie") ?? "").split(";").map((cookie) => cookie.trim());
  const ours = cookies.filter((cookie) => names.some((name) => cookie.startsWith(`${name}=`)));
  const ids: string[] = [];
  for (const cookie of ours.slice(0, COOKIES_LIMIT)) {
    const parts = /^([\w-]+)=([\w-]{43})\.([0-9a-f]{64})$/.exec(cookie);
    if (parts === null) continue;
    const [, name = "", id = "", signature = ""] = parts;
    const expected = await sign(config.controlToken, `${name} ${authority} ${id}`);
    if (await sameSecret(signature, expected)) ids.push(id);
  }
  return ids;
}

async function makeRoom(store: StateStore, now: number): Promise<void> {
  const rows = await store.listRecords(KIND, { after: null, limit: 4 * SIGN_INS_LIMIT });
  const expiries = rows.map(({ id, body }) => ({ id, expiresAt: parseRecord(body)?.expiresAt ?? 0 }));
  expiries.sort((one, other) => other.expiresAt - one.expiresAt);
  const surplus = expiries.filter(({ expiresAt }, index) => expiresAt <= now || index >= SIGN_INS_LIMIT - 1);
  await Promise.all(surplus.map(({ id }) => store.deleteRecord(KIND, id)));
}

function parseRecord(body: string): SignInRecord | null {
  const value: unknown = JSON.parse(body);
  if (typeof value !== "object" || value === null) return null;
  if (!("expiresAt" in value) || !("keyHash" in value)) return null;
  const { expiresAt, keyHash } = value;
  return typeof expiresAt === "number" && typeof keyHash === "string" ? { expiresAt, keyHash } : null;
}

function flags(secure: boolean): string {
  return `Path=/; HttpOnly; SameSite=Strict${secure ? "; Secure" : ""}`;
}

function portOf(authority: string): string {
  return /:(\d+)$/.exec(authority)?.[1] ?? "";
}

/** 256 bits. */
function randomText(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

const encoder = new TextEncoder();

async function hash(text: string): Promise<string> {
  return hex(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

async function sign(controlToken: string, text: string): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(controlToken), algorithm, false, ["sign"]);
  return hex(await crypto.subtle.sign("HMAC", key, encoder.encode(`signalbox dashboard sign-in ${text}`)));
}

function hex(bytes: ArrayBuffer): string {
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
