import { join } from "node:path";
import { z } from "zod";
import { Failure } from "./failure.ts";
import { configDirectory, readPrivate, writePrivate } from "./private-file.ts";

const logins = z.object({
  /** The server of the latest login, which commands speak to by default. */
  current: z.string().nullable(),
  servers: z.record(z.string(), z.object({ token: z.string() })),
});
export type Logins = z.infer<typeof logins>;

/** Where `signalbox login` keeps tokens. */
export function loginFile(env: Record<string, string | undefined>): string {
  return join(configDirectory(env), "login.json");
}

export async function readLogins(file: string): Promise<Logins> {
  const text = await readPrivate(file);
  if (text === null) return { current: null, servers: {} };
  try {
    return logins.parse(JSON.parse(text));
  } catch {
    throw new Failure("config", "bad_login_file", `${file} is damaged. Delete it, then: signalbox login.`);
  }
}

export function writeLogins(file: string, saved: Logins): Promise<void> {
  return writePrivate(file, saved);
}
