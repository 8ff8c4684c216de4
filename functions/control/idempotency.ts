import type { Context, MiddlewareHandler } from "hono";
import type { z } from "zod";
import { Problem } from "../errors.ts";
import { SHA256_HEADER } from "../protocol/runner-api.ts";
import type { OperationRecord } from "../state/store.ts";

/** An Idempotency-Key as the store knows it; null when the client sent none. */
export type Idempotency = { key: string; fingerprint: string } | null;

const KEY_PATTERN = /^[\x21-\x7e]{1,200}$/;

/** Gives a route's handler `c.var.idempotency`. A route without it can't ask for one: it doesn't compile. */
type IdempotencyMiddleware = MiddlewareHandler<{ Variables: { idempotency: Idempotency } }>;

/** For requests that say all in their path and their JSON body. */
export const byBody = fingerprinted((c) => c.req.text());
/** For requests whose body says nothing. */
export const byPath = fingerprinted(() => "");
/** For uploads, which nothing but their hash tells apart. */
export const bySha256 = fingerprinted((c) => {
  const sha256 = c.req.header(SHA256_HEADER);
  if (sha256 !== undefined) return sha256;
  const message = "is required with an Idempotency-Key: a stream is told from another by nothing else";
  throw new Problem("invalid_request", `${SHA256_HEADER} ${message}.`, {
    errors: [{ field: `header.${SHA256_HEADER}`, message }],
  });
});

/** What a key was used for before, as it was answered then. Throws when that was another request. */
export function replay<T>(record: OperationRecord, idempotency: Idempotency, schema: z.ZodType<T>): T {
  if (record.fingerprint !== idempotency?.fingerprint) {
    throw new Problem(
      "idempotency_key_reused",
      "This Idempotency-Key was used for another request within the last day. Use a new one.",
      { errors: [{ field: "header.idempotency-key", message: "was used for another request" }] },
    );
  }
  return schema.parse(JSON.parse(record.result));
}

/** The fingerprint is of method, path, query and what `content` gives: what the request stands for. */
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
