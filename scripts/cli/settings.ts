import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import type { LoadedConfig } from "./config-file.ts";
import { Failure } from "./failure.ts";
import type { Logins } from "./login-file.ts";
import { directoriesUpward, isOurs, type Approval } from "./trust.ts";

/** A value and who said so, for messages. */
export interface Setting {
  value: string;
  from: string;
}

export interface Connection {
  server: Setting;
  token: Setting | null;
  /** What has to be agreed to before the token is sent. */
  approval: Approval | null;
}

/** Where settings come from, strongest first. */
export interface Sources {
  flags: { server?: string | undefined; token?: string | undefined };
  env: Record<string, string | undefined>;
  config: LoadedConfig;
  logins: Logins;
  local: LocalStack | null;
}

/** What `npm start` leaves behind for whoever works beside it. */
export interface LocalStack {
  file: string;
  url: string;
  controlToken: string;
  /** Whether `SIGNALBOX_HOME` says where it is. */
  named: boolean;
}

/**
 * Flags, then the environment, then `signalbox.json`, then the login, then the local stack. A token only goes where it
 * was given for: a saved one to its server, one of a flag or the environment to a server named beside it. For the server
 * of a `signalbox.json`, which may be anybody's, that takes an approval. Throws {@link Failure} when nobody names a server.
 */
export function resolveConnection({ flags, env, config, logins, local }: Sources): Connection {
  const flag = given(flags.token, "--control-token");
  const variable = given(env["SIGNALBOX_TOKEN"], "SIGNALBOX_TOKEN");
  const saved = (origin: string): Setting | null => given(logins.servers[origin]?.token, "signalbox login");
  const locals = (origin: string): Setting | null =>
    local !== null && sameServer(local.url, origin) ? given(local.controlToken, local.file) : null;

  const named = given(flags.server, "--server") ?? given(env["SIGNALBOX_URL"], "SIGNALBOX_URL");
  if (named !== null) {
    const origin = originOf(named);
    return connectionOf(named, flag ?? variable ?? saved(origin) ?? locals(origin));
  }
  const configured = given(config.config.server, config.file ?? "");
  if (configured !== null) {
    const origin = originOf(configured);
    const own = flag === null ? (saved(origin) ?? locals(origin)) : null;
    const approval = { kind: "server" as const, file: configured.from, value: origin };
    return own === null
      ? { ...connectionOf(configured, flag ?? variable), approval }
      : connectionOf(configured, own);
  }
  const current = given(logins.current ?? undefined, "signalbox login");
  if (current !== null) return connectionOf(current, flag ?? saved(originOf(current)));
  if (local !== null) {
    const stack = { value: local.url, from: local.file };
    const own = given(local.controlToken, local.file);
    // A file that was merely found gets no token but its own.
    return connectionOf(stack, local.named ? (flag ?? variable ?? own) : own);
  }
  throw new Failure(
    "usage",
    "no_server",
    "No server is known. Name one with --server, SIGNALBOX_URL, `server` in signalbox.json or signalbox login. In a clone of Signalbox, npm start starts a local one.",
  );
}

function connectionOf(server: Setting, token: Setting | null): Connection {
  return { server: { value: originOf(server), from: server.from }, token, approval: null };
}

/** An empty value is as good as none. */
function given(value: string | undefined, from: string): Setting | null {
  return value === undefined || value === "" ? null : { value, from };
}

/** `local.json` in `SIGNALBOX_HOME`, as for `npm start`; else in `.signalbox` here or above, up to the repository's root. */
export function findLocalStack(
  directory: string,
  env: Record<string, string | undefined>,
): LocalStack | null {
  const home = env["SIGNALBOX_HOME"];
  if (home !== undefined && home !== "") {
    const stack = readLocalStack(join(resolve(directory, home), "local.json"));
    return stack === null ? null : { ...stack, named: true };
  }
  for (const at of directoriesUpward(directory)) {
    const file = join(at, ".signalbox", "local.json");
    if (!existsSync(file) || !isOurs(file, env)) continue;
    const stack = readLocalStack(file);
    if (stack !== null) return { ...stack, named: false };
  }
  return null;
}

/** The scheme, host and port of an address that somebody gave. */
export function originOf({ value, from }: Setting): string {
  const url = URL.canParse(value) ? new URL(value) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "") {
    const reason = from.endsWith(".json") ? "config" : "usage";
    throw new Failure(
      reason,
      "bad_server",
      `${from}: ${JSON.stringify(value)} isn't an address like https://edge.example.com.`,
    );
  }
  return url.origin;
}

export function isLoopback(origin: string): boolean {
  const { hostname } = new URL(origin);
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "127.0.0.1" ||
    hostname === "[::1]"
  );
}

/** Whether two addresses lead to one server: those of this machine do when their ports are the same. */
export function sameServer(one: string, other: string): boolean {
  if (!URL.canParse(one)) return false;
  const origin = new URL(one).origin;
  return (
    origin === other || (isLoopback(origin) && isLoopback(other) && new URL(one).port === new URL(other).port)
  );
}

const localStack = z.object({
  url: z.string().refine((url) => URL.canParse(url) && isLoopback(url)),
  controlToken: z.string(),
});

function readLocalStack(file: string): Omit<LocalStack, "named"> | null {
  if (!existsSync(file)) return null;
  try {
    return { file, ...localStack.parse(JSON.parse(readFileSync(file, "utf8"))) };
  } catch {
    throw new Failure(
      "config",
      "bad_local_stack",
      `${file} is damaged. Start the local stack again: npm start.`,
    );
  }
}
