import { sameSecret } from "../auth.ts";
import { ACCESS_TOKEN_PATTERN, ACCESS_TOKEN_PREFIX, ACCESS_TOKENS_LIMIT } from "../protocol/access.ts";
import type { StateStore } from "../state/store.ts";
import { tokenRecord, type TokenRecord } from "./token-record.ts";

const KIND = "token";
const ID_BYTES = 8;
const SECRET_BYTES = 32;
/** The last use is written so often at most: it says "today" or "months ago". */
const USE_WRITTEN_EVERY_MS = 600_000;

export async function newToken(
  wanted: Pick<TokenRecord, "name" | "scopes" | "by" | "expiresAt">,
  now: number,
): Promise<{ record: TokenRecord; token: string }> {
  const id = hex(crypto.getRandomValues(new Uint8Array(ID_BYTES)));
  const token = `${ACCESS_TOKEN_PREFIX}${id}_${hex(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)))}`;
  const sha256 = await sha256Of(token);
  return { record: { schema: 1, id, ...wanted, sha256, createdAt: now, lastUsedAt: null }, token };
}

/** All of them, without records of another schema. */
export async function listTokens(store: StateStore): Promise<TokenRecord[]> {
  const rows = await store.listRecords(KIND, { after: null, limit: ACCESS_TOKENS_LIMIT });
  return rows.flatMap(({ body }) => parsed(body) ?? []);
}

export async function readToken(store: StateStore, id: string): Promise<TokenRecord | null> {
  const body = await store.readRecord(KIND, id);
  return body === null ? null : parsed(body);
}

export async function writeToken(store: StateStore, record: TokenRecord): Promise<void> {
  await store.writeRecord(KIND, record.id, JSON.stringify(record), record.lastUsedAt ?? record.createdAt);
}

/** False when there was none. Its version is above all others: a use that is written late doesn't bring it back. */
export function deleteToken(store: StateStore, id: string): Promise<boolean> {
  return store.deleteRecord(KIND, id, Number.MAX_SAFE_INTEGER);
}

/** The record of a token that is right and hasn't expired; else null. Asks the store, so that a revocation holds at once. */
export async function judgeToken(store: StateStore, token: string, now: number): Promise<TokenRecord | null> {
  const [, id] = ACCESS_TOKEN_PATTERN.exec(token) ?? [];
  const record = id === undefined ? null : await readToken(store, id);
  if (record === null || record.expiresAt <= now) return null;
  return (await sameSecret(await sha256Of(token), record.sha256)) ? record : null;
}

/** Notes the use, now and then. */
export async function noteUse(store: StateStore, record: TokenRecord, now: number): Promise<void> {
  if (record.lastUsedAt !== null && now - record.lastUsedAt < USE_WRITTEN_EVERY_MS) return;
  await writeToken(store, { ...record, lastUsedAt: now });
}

function parsed(body: string): TokenRecord | null {
  return tokenRecord.safeParse(JSON.parse(body)).data ?? null;
}

async function sha256Of(text: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
