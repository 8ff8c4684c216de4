/** A project's environment variables, which the runner keeps and never tells the values of. See PROTOCOL.md, section 5. */

import { isObject } from "./control.ts";

/** Who gets a variable: `dev` is installs and the dev server, `git` what the runner itself logs in to a remote with. */
export const envReceivers = ["dev", "agent", "both", "git"] as const;
export type EnvReceiver = (typeof envReceivers)[number];

/** Linux passes 128 KiB as one variable; a certificate has 4. */
export const ENV_VALUE_LIMIT = 16 * 1024;
export const ENV_VARIABLES_LIMIT = 200;
export const ENV_NAME_PATTERN = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

export interface NewEnvVariable {
  name: string;
  value: string;
  /** Masked wherever output is shown. */
  secret: boolean;
  for: EnvReceiver;
}

/** Without its value. */
export interface EnvVariable {
  name: string;
  secret: boolean;
  for: EnvReceiver;
  /** RFC 3339. */
  updatedAt: string;
}

export interface ProjectEnv {
  variables: EnvVariable[];
}

/** Null for anything else. Nothing but the known fields passes. */
export function parseProjectEnv(value: unknown): ProjectEnv | null {
  if (!isObject(value) || !Array.isArray(value["variables"])) return null;
  const variables = value["variables"].map(parseVariable);
  return variables.every((one) => one !== null) ? { variables } : null;
}

function parseVariable(value: unknown): EnvVariable | null {
  if (!isObject(value)) return null;
  const { name, secret, updatedAt } = value;
  const receiver = envReceivers.find((one) => one === value["for"]);
  if (typeof name !== "string" || typeof secret !== "boolean" || typeof updatedAt !== "string") return null;
  return receiver === undefined ? null : { name, secret, for: receiver, updatedAt };
}
