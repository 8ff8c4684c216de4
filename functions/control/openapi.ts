import { OpenAPIHono, type z } from "@hono/zod-openapi";
import { Problem, type FieldError } from "../errors.ts";
import type { ControlEnv } from "./context.ts";

/** A router whose validation errors are problems that name the field. */
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
