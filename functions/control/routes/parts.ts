import { z } from "@hono/zod-openapi";
import { byBody, byPath, bySha256 } from "../idempotency.ts";
import { problemView } from "../schemas.ts";

/** The pieces that every route of the control API is described with. */

export const json = <T extends z.ZodType>(schema: T, description = "Done") => ({
  description,
  content: { "application/json": { schema } },
});

export const jsonBody = <T extends z.ZodType>(schema: T) => ({
  required: true as const,
  content: { "application/json": { schema } },
});

/** For calls that say all in their path: a body may be missing or empty, but no field is silently ignored. */
export const noBody = {
  required: false as const,
  content: { "application/json": { schema: z.strictObject({}) } },
};

export const problems = {
  default: {
    description: "What went wrong, naming the field and the remedy",
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

/** On every change: repeats within a day answer as the first did and change nothing. */
export const idempotent = { parameters: idempotencyKey, middleware: byBody };
export const idempotentWithoutBody = { parameters: idempotencyKey, middleware: byPath };
export const idempotentUpload = { parameters: idempotencyKey, middleware: bySha256 };
