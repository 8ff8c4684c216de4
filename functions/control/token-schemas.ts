import { z } from "@hono/zod-openapi";
import { scope } from "../access/scopes.ts";
import type { TokenRecord } from "../access/token-record.ts";
import {
  ACCESS_TOKEN_ID_PATTERN,
  ACCESS_TOKEN_LIFE_LIMIT_SECONDS,
  ACCESS_TOKEN_LIFE_SECONDS,
  SCOPES_LIMIT,
} from "../protocol/access.ts";

const timestamp = z.iso.datetime();

export const tokenPath = z.object({
  id: z.string().regex(ACCESS_TOKEN_ID_PATTERN, "must be a token's id: 16 hexadecimal digits"),
});

export const tokenBody = z
  .strictObject({
    /** What the audit log calls its holder. */
    name: z.string().regex(/^[A-Za-z0-9][\w .@/-]{0,63}$/, "1 to 64 letters, digits, spaces and _.@/-"),
    /** Of `admin`, `operate`, `read` and `deploy:APP`. */
    scopes: z.array(scope).min(1).max(SCOPES_LIMIT),
    expiresInSeconds: z
      .number()
      .int()
      .min(60)
      .max(ACCESS_TOKEN_LIFE_LIMIT_SECONDS)
      .default(ACCESS_TOKEN_LIFE_SECONDS),
  })
  .openapi("NewToken");

export const tokenView = z
  .object({
    id: z.string(),
    name: z.string(),
    scopes: z.array(z.string()),
    by: z.string(),
    createdAt: timestamp,
    expiresAt: timestamp,
    /** Within ten minutes; null: never. */
    lastUsedAt: timestamp.nullable(),
  })
  .openapi("Token");

export const tokenCreated = tokenView
  /** Shown once; the store has only its SHA-256. */
  .extend({ token: z.string() })
  .openapi("TokenCreated");

export function viewToken({
  id,
  name,
  scopes,
  by,
  createdAt,
  expiresAt,
  lastUsedAt,
}: TokenRecord): z.infer<typeof tokenView> {
  return {
    id,
    name,
    scopes,
    by,
    createdAt: new Date(createdAt).toISOString(),
    expiresAt: new Date(expiresAt).toISOString(),
    lastUsedAt: lastUsedAt === null ? null : new Date(lastUsedAt).toISOString(),
  };
}
