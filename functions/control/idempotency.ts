import type { Context, MiddlewareHandler } from "hono";
import type { z } from "zod";
import { Problem } from "../errors.ts";
import { SHA256_HEADER } from "../protocol/runner-api.ts";
import type { IdempotencyRecord } from "../state/store.ts";

/** An Idempotency-Key as the store has it; null if the client sent none. */
export type Idempotency = { key: string; fingerprint: string } | null;

const KEY_PATTERN = /^[\x21-\x7e]{1,200}$/;

/** Sets `c.var.idempotency`. Handlers of routes without this middleware don't have it: using it doesn't compile. */
type IdempotencyMiddleware = MiddlewareHandler<{ Variables: { idempotency: Idempotency } }>;

/** For requests with a JSON body. */
export const byBody = fingerprinted((c) => c.req.text());
/** For requests whose path says all. */
export const byPath = fingerprinted(() => "");
/** For uploads: only the hash tells one stream from another. */
export const bySha256 = fingerprinted((c) => {
  const sha256 = c.req.header(SHA256_HEADER);
  if (sha256 !== undefined) return sha256;
  const message = "is required with an Idempotency-Key: only the hash tells one upload from another";
  throw new Problem("invalid_request", `${SHA256_HEADER} ${message}.`, {
    errors: [{ field: `header.${SHA256_HEADER}`, message }],
  });
});

/** The answer that was recorded under the key. Throws if it was used for another request. */
export function replay<T>(record: IdempotencyRecord, idempotency: Idempotency, schema: z.ZodType<T>): T {
  if (record.fingerprint !== idempotency?.fingerprint) {
    throw new Problem(
      "idempotency_key_reused",
      "This Idempotency-Key was used for another request within the last day. Use a new one.",
      { errors: [{ field: "header.idempotency-key", message: "was used for another request" }] },
    );
  }
  return schema.parse(JSON.parse(record.result));
}

/** The fingerprint covers method, path, query and `content`. */
function fingerprinted(content: (c: Context) => string | Promise<string>): IdempotencyMiddleware {
  return async (c, next) => {
    const key = c.req.header("idempotency-key");
    c.set("idempotency", key === undefined ? null : await idempotencyOf(key, c.req.raw, await content(c)));
    await next();
  };
}

async function idempotencyOf(key: string, request: Request, content: string): Promise<Idempotency> {
  if (!KEY_PATTERN.test(key)) {
    const message = "must have 1 to 200 printable ASCII characters and no spaces";
    throw new Problem("invalid_request", `Idempotency-Key ${message}.`, {
      errors: [{ field: "header.idempotency-key", message }],
    });
  }
  const { pathname, search } = new URL(request.url);
  const text = new TextEncoder().encode(`${request.method} ${pathname}${search}\n${content}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return { key, fingerprint: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
}
