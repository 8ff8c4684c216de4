import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { z } from "zod";
import { Failure } from "../failure.ts";
import type { RailwayPlace } from "./token.ts";

const installationSecrets = z.object({
  CONTROL_TOKEN: z.string().min(16),
  PULSE_RAILWAY_INTERNAL_TOKEN: z.string().min(16),
  RUNNER_SHARED_SECRET: z.string().min(16),
});
export type InstallationSecrets = z.infer<typeof installationSecrets>;

const names = ["CONTROL_TOKEN", "PULSE_RAILWAY_INTERNAL_TOKEN", "RUNNER_SHARED_SECRET"] as const;
export const secretNames: readonly string[] = names;

/** What the Worker has to know of the installation that it is. Not secret, and kept beside what is. */
export interface WorkerSettings {
  RAILWAY_PROJECT_ID: string;
  RAILWAY_ENVIRONMENT_ID: string;
  RAILWAY_ENV_SERVICE: string;
}

/**
 * Where an installation's secrets are kept on the operator's machine, in the form that `wrangler secret bulk` takes: made once,
 * so that a scaffold that was interrupted goes on with the same ones.
 */
export function secretsFile(place: RailwayPlace, env: Record<string, string | undefined>): string {
  const base = env["XDG_CONFIG_HOME"] ?? join(env["HOME"] ?? homedir(), ".config");
  return join(base, "signalbox", "stacks", `${place.project.id}-${place.environment.id}.json`);
}

/** The kept secrets; null: none were made on this machine. */
export async function readSecrets(file: string): Promise<InstallationSecrets | null> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw new Failure("config", "bad_secrets_file", `${file} can't be read.`);
  }
  try {
    return installationSecrets.parse(JSON.parse(text));
  } catch {
    throw new Failure(
      "config",
      "bad_secrets_file",
      `${file} is damaged: it must hold ${names.join(", ")}. Mend it, or delete it to have new secrets made.`,
    );
  }
}

/**
 * The secrets: from the environment where it names them, else as kept, else new. The runner's is the one that its
 * service has already. Kept before anything else learns of them.
 */
export async function keepSecrets(
  file: string,
  env: Record<string, string | undefined>,
  runnerSecret: string | undefined,
  settings: WorkerSettings,
): Promise<InstallationSecrets> {
  const kept = await readSecrets(file);
  const secret = (name: (typeof names)[number], first?: string): string => {
    const value = first ?? env[name] ?? kept?.[name] ?? randomBytes(24).toString("base64url");
    if (value.length >= 16) return value;
    throw new Failure("usage", "short_secret", `${name} must have at least 16 characters.`);
  };
  const secrets = {
    CONTROL_TOKEN: secret("CONTROL_TOKEN"),
    PULSE_RAILWAY_INTERNAL_TOKEN: secret("PULSE_RAILWAY_INTERNAL_TOKEN"),
    RUNNER_SHARED_SECRET: secret("RUNNER_SHARED_SECRET", runnerSecret),
  };
  if (kept === null || names.some((name) => kept[name] !== secrets[name]))
    await write(file, { ...secrets, ...settings });
  return secrets;
}

/** What marks the deployments of the installation that has this internal token. */
export function installationOf(token: string): string {
  return createHash("sha256").update(token).digest("hex").slice(0, 16);
}

async function write(file: string, secrets: InstallationSecrets & WorkerSettings): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}
