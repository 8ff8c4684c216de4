import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { WorkerSettings } from "./workerd.ts";

/** What `npm start` reads from its environment; everything has a default. */
export interface LocalSettings {
  port: number;
  home: string;
  demo: boolean;
  upstash: { url: string; token: string } | null;
}

/** A setting that is wrong. The message names it. */
export class SettingError extends Error {
  override name = "SettingError";
}

export function readSettings(env: NodeJS.ProcessEnv): LocalSettings {
  const port = env["PORT"] ?? "8787";
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new SettingError("PORT must be a number from 0 to 65535.");
  const demo = env["SIGNALBOX_DEMO"] ?? "1";
  if (demo !== "0" && demo !== "1") throw new SettingError("SIGNALBOX_DEMO must be 0 or 1.");
  const url = env["UPSTASH_REDIS_REST_URL"];
  const token = env["UPSTASH_REDIS_REST_TOKEN"];
  if ((url === undefined) !== (token === undefined)) {
    const missing = url === undefined ? "UPSTASH_REDIS_REST_URL" : "UPSTASH_REDIS_REST_TOKEN";
    throw new SettingError(`${missing} is missing: Upstash needs both its URL and its token.`);
  }
  return {
    port: Number(port),
    home: env["SIGNALBOX_HOME"] ?? ".signalbox",
    demo: demo === "1",
    upstash: url !== undefined && token !== undefined ? { url, token } : null,
  };
}

/** The secrets of one installation, made once and kept in its home. */
export interface LocalSecrets {
  controlToken: string;
  runnerSharedSecret: string;
  internalToken: string;
}

const FILE = "local.json";
const secretFields = ["controlToken", "runnerSharedSecret", "internalToken"] as const;

/** What an earlier start left in a home. */
interface Earlier {
  secrets: Partial<LocalSecrets>;
  /** Its state was kept in this home, and not in Upstash. */
  hasStore: boolean;
}

/**
 * The secrets of a home, from the environment where it names them, else from an earlier start, else new; and whether an
 * earlier start has left a store there. Throws {@link SettingError} rather than take a damaged home for a new one.
 */
export async function openHome(
  home: string,
  env: NodeJS.ProcessEnv,
): Promise<{ secrets: LocalSecrets; hasStore: boolean }> {
  await mkdir(home, { recursive: true, mode: 0o700 });
  const { secrets: earlier, hasStore } = await readLocal(home);
  const secret = (name: string, field: (typeof secretFields)[number]): string => {
    const value = env[name] ?? earlier[field] ?? randomBytes(24).toString("base64url");
    if (value.length < 16) throw new SettingError(`${name} must have at least 16 characters.`);
    return value;
  };
  const secrets = {
    controlToken: secret("CONTROL_TOKEN", "controlToken"),
    runnerSharedSecret: secret("RUNNER_SHARED_SECRET", "runnerSharedSecret"),
    internalToken: secret("PULSE_RAILWAY_INTERNAL_TOKEN", "internalToken"),
  };
  return { secrets, hasStore };
}

/** Writes `local.json`, readable by its owner only, whole or not at all. */
export async function writeLocal(
  home: string,
  local: { url: string; secrets: LocalSecrets; hasStore: boolean },
): Promise<void> {
  const { url, secrets, hasStore } = local;
  const file = join(home, FILE);
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, `${JSON.stringify({ url, ...secrets, hasStore }, null, 2)}\n`, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}

/** Browsers take every name below `localhost` for this machine; other programs may not. */
export const OPERATOR_NAME = "signalbox.localhost";

export function workerSettings(settings: LocalSettings, secrets: LocalSecrets): WorkerSettings {
  return {
    CONTROL_TOKEN: secrets.controlToken,
    PULSE_RAILWAY_INTERNAL_TOKEN: secrets.internalToken,
    RUNNER_SHARED_SECRET: secrets.runnerSharedSecret,
    APP_DOMAIN: "localhost",
    PREVIEW_DOMAIN: "preview.localhost",
    OPERATOR_HOST: settings.port === 0 ? OPERATOR_NAME : `${OPERATOR_NAME}:${settings.port}`,
    // A laptop's promote should be seen at once, and its store costs nothing.
    ROUTE_TTL_MS: "500",
    ALLOW_PRIVATE_TARGETS: "1",
    TRUST_CLIENT_ADDRESS: "0",
    // What it costs at Cloudflare, a hub that stays awake, is nothing here.
    RUNNER_JOINED_SOCKETS: "1",
    ...(settings.upstash
      ? { UPSTASH_REDIS_REST_URL: settings.upstash.url, UPSTASH_REDIS_REST_TOKEN: settings.upstash.token }
      : {}),
  };
}

async function readLocal(home: string): Promise<Earlier> {
  const file = join(home, FILE);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      return { secrets: {}, hasStore: false };
    throw error;
  }
  const damaged = (why: string): SettingError =>
    new SettingError(
      `${file} is damaged: ${why}. It holds the secrets of this installation. Restore it from a backup, or delete it ` +
        "to have new ones made; whoever signed in with the old ones has to do so again.",
    );
  if (text.trim() === "") throw damaged("it is empty");
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw damaged("it isn't whole JSON");
  }
  if (typeof parsed !== "object" || parsed === null) throw damaged("it isn't a JSON object");
  const fields = new Map<string, unknown>(Object.entries(parsed));
  const secrets: Partial<LocalSecrets> = {};
  for (const name of secretFields) {
    const value = fields.get(name);
    if (typeof value !== "string" || value === "") throw damaged(`it has no ${name}`);
    secrets[name] = value;
  }
  return { secrets, hasStore: fields.get("hasStore") === true };
}
