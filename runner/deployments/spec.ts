import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { DEPLOYMENT_ID_PATTERN, SLUG_PATTERN } from "../../functions/protocol/limits.ts";
import type { HostedSpec } from "../../functions/protocol/runner-api.ts";
import { RunnerError } from "../runner-error.ts";
import { SHA256_PATTERN } from "../sources/source-store.ts";

/** Far below what Linux passes as one argument (128 KiB); anything longer belongs into a script of the source. */
const COMMAND_LIMIT = 8 * 1024;
const ENV_VARIABLES_LIMIT = 200;
/** With the rest it still fits a control body. */
const ENV_LIMIT_BYTES = 48 * 1024;

const command = z
  .string()
  .trim()
  .min(1)
  .max(COMMAND_LIMIT)
  .refine((text) => !text.includes("\0"), "can't contain a NUL character");

const env = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "isn't a variable's name"),
    z.string().refine((text) => !text.includes("\0"), "can't contain a NUL character"),
  )
  .refine((record) => Object.keys(record).length <= ENV_VARIABLES_LIMIT, "has too many variables")
  .refine((record) => Buffer.byteLength(JSON.stringify(record)) <= ENV_LIMIT_BYTES, "is too large")
  .refine(
    (record) => !Object.keys(record).some((name) => name.startsWith("SIGNALBOX_PROCESS")),
    "can't set SIGNALBOX_PROCESS",
  );

export const specSchema = z.strictObject({
  source: z.strictObject({ sha256: z.string().regex(SHA256_PATTERN, "isn't a SHA-256 in hexadecimal") }),
  install: command.optional(),
  build: command.optional(),
  start: command,
  env: env.optional(),
  healthPath: z
    .string()
    .max(2_048)
    .regex(/^\/[\x21-\x7e]*$/, "isn't a path")
    .optional(),
  host: z.enum(["public", "local"]).optional(),
});

/** What a deployment is made of. The commands are given to `/bin/sh -c` in the unpacked source. */
export type DeploymentSpec = z.infer<typeof specSchema> & HostedSpec;

/** The spec in a request's body, already parsed as JSON. Throws {@link RunnerError} `invalid_request`. */
export function parseSpec(value: unknown): DeploymentSpec {
  const result = specSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue?.path.join(".");
  throw new RunnerError(
    "invalid_request",
    issue?.message ?? "The deployment isn't valid.",
    field || undefined,
  );
}

/**
 * What the control plane says of itself: an app's host or the token may change while its version is built, and a newer
 * control plane repeats the id under more names.
 */
const SURROUNDINGS = new Set(["PULSE_SERVER_ADDRESS", "PULSE_RAILWAY_INTERNAL_TOKEN", "NEXT_DEPLOYMENT_ID"]);

/** The host that visitors use, as the control plane told it when the deployment was accepted. */
export function publicHostOf({ env }: DeploymentSpec): string | null {
  return URL.parse(env?.["PULSE_SERVER_ADDRESS"] ?? "")?.host || null;
}

/** Whether two specs are of the same deployment. */
export function isSameSpec(one: DeploymentSpec, other: DeploymentSpec): boolean {
  const own = ({ env: given = {}, ...rest }: DeploymentSpec): unknown => ({
    ...rest,
    env: Object.fromEntries(Object.entries(given).filter(([name]) => !SURROUNDINGS.has(name))),
  });
  return isDeepStrictEqual(own(one), own(other));
}

/** "app/id", which is also the name by which the tunnel asks for it. Throws {@link RunnerError} `invalid_request`. */
export function parseKey(key: string): { app: string; id: string } {
  const [app = "", id = "", ...more] = key.split("/");
  if (!SLUG_PATTERN.test(app)) throw new RunnerError("invalid_request", "This isn't an app's name.", "app");
  if (!DEPLOYMENT_ID_PATTERN.test(id) || more.length > 0) {
    throw new RunnerError("invalid_request", "This isn't a deployment's id.", "id");
  }
  return { app, id };
}
