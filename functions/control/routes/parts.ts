import { z } from "@hono/zod-openapi";
import { byBody, byPath, bySha256 } from "../idempotency.ts";
import { problemView } from "../schemas.ts";

/** What the routes' descriptions are made of. */

export const json = <T extends z.ZodType>(schema: T, description = "Done") => ({
  description,
  content: { "application/json": { schema } },
});

export const jsonBody = <T extends z.ZodType>(schema: T) => ({
  required: true as const,
  content: { "application/json": { schema } },
});

/** For calls whose path says all. The body may be missing or empty; a field in it is refused, not ignored. */
export const noBody = {
  required: false as const,
  content: { "application/json": { schema: z.strictObject({}) } },
};

export const problems = {
  default: {
    description: "What failed, which field, and the remedy",
    content: { "application/problem+json": { schema: problemView } },
  },
};

export const operator = [{ controlToken: [] }];

const idempotencyKey = [
  {
    name: "Idempotency-Key",
    in: "header" as const,
    required: false,
    schema: { type: "string" as const, minLength: 1, maxLength: 200 },
  },
];

/** For every change: within a day a repeat answers as the first request did and changes nothing. */
export const idempotent = { parameters: idempotencyKey, middleware: byBody };
export const idempotentWithoutBody = { parameters: idempotencyKey, middleware: byPath };
export const idempotentUpload = { parameters: idempotencyKey, middleware: bySha256 };
