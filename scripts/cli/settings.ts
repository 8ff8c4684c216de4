import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { LoadedConfig } from "./config-file.ts";
import { Failure } from "./failure.ts";
import type { Logins } from "./login-file.ts";

/** A value and who said so, for messages. */
export interface Setting {
  value: string;
  from: string;
}

export interface Connection {
  server: Setting;
  token: Setting | null;
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
}

/**
 * Flags, then the environment, then `signalbox.json`, then the login, then the local stack. A saved token is only ever
 * sent to the server that it was saved for. Throws {@link Failure} when nobody names a server.
 */
export function resolveConnection({ flags, env, config, logins, local }: Sources): Connection {
  const server = first([
    [flags.server, "--server"],
    [env["SIGNALBOX_URL"], "SIGNALBOX_URL"],
    [config.config.server, config.file ?? ""],
    [logins.current ?? undefined, "signalbox login"],
    [local?.url, local?.file ?? ""],
  ]);
  if (server === null) {
    throw new Failure(
      "usage",
      "no_server",
      "No server is known. Name one with --server, SIGNALBOX_URL, `server` in signalbox.json or signalbox login, or start a local one with npm start.",
    );
  }
  const origin = originOf(server);
  const sameAsLocal = local !== null && sameServer(local.url, origin);
  const token = first([
    [flags.token, "--control-token"],
    [env["SIGNALBOX_TOKEN"], "SIGNALBOX_TOKEN"],
    [logins.servers[origin]?.token, "signalbox login"],
    [sameAsLocal ? local.controlToken : undefined, local?.file ?? ""],
  ]);
  return { server: { value: origin, from: server.from }, token };
}

/** `.signalbox/local.json` in a directory or above it; or in `SIGNALBOX_HOME`, as for `npm start`. */
export function findLocalStack(
  directory: string,
  env: Record<string, string | undefined>,
): LocalStack | null {
  const home = env["SIGNALBOX_HOME"];
  if (home !== undefined && home !== "") return readLocalStack(join(resolve(directory, home), "local.json"));
  for (let at = resolve(directory); ; at = dirname(at)) {
    const found = readLocalStack(join(at, ".signalbox", "local.json"));
    if (found !== null || dirname(at) === at) return found;
  }
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

function sameServer(one: string, other: string): boolean {
  if (!URL.canParse(one)) return false;
  const origin = new URL(one).origin;
  return (
    origin === other || (isLoopback(origin) && isLoopback(other) && new URL(one).port === new URL(other).port)
  );
}

const localStack = z.object({ url: z.string(), controlToken: z.string() });

function readLocalStack(file: string): LocalStack | null {
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

function first(candidates: [string | undefined, string][]): Setting | null {
  for (const [value, from] of candidates) {
    if (value !== undefined && value !== "") return { value, from };
  }
  return null;
}
