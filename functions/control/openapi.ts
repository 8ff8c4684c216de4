import { OpenAPIHono, z } from "@hono/zod-openapi";
import { Problem, type FieldError } from "../errors.ts";
import type { ControlEnv } from "./context.ts";
import { problemView } from "./schemas.ts";

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

/** On every mutation: repeats within a day answer as the first did and change nothing. */
export const idempotent = [
  {
    name: "Idempotency-Key",
    in: "header" as const,
    required: false,
    schema: { type: "string" as const, minLength: 1, maxLength: 200 },
  },
];

/** A router whose validators answer with problems that name the field. */
export function controlRouter(): OpenAPIHono<ControlEnv> {
  return new OpenAPIHono<ControlEnv>({
    defaultHook: (result) => {
      if (result.success) return;
      const errors = result.error.issues.flatMap((issue) => fieldErrors(result.target, issue));
      const [first] = errors;
      throw new Problem(
        "invalid_request",
        `${first?.field ?? "The request"}: ${first?.message ?? "is invalid"}.`,
        {
          errors,
        },
      );
    },
  });
}

function fieldErrors(part: string, issue: z.core.$ZodIssue): FieldError[] {
  const prefix = part === "json" ? "" : part === "param" ? "path." : `${part}.`;
  const at = (path: PropertyKey[]): string => `${prefix}${path.map(String).join(".")}` || "body";
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ field: at([...issue.path, key]), message: "is not a known field" }));
  }
  return [{ field: at(issue.path), message: plainly(issue.message) }];
}

function plainly(message: string): string {
  return message.endsWith("received undefined") ? "is required" : message.replace(/^Invalid input: /, "");
}
