import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { z } from "zod";
import { Failure } from "./failure.ts";

const logins = z.object({
  /** The server of the latest login, which commands speak to by default. */
  current: z.string().nullable(),
  servers: z.record(z.string(), z.object({ token: z.string() })),
});
export type Logins = z.infer<typeof logins>;

/** Where `signalbox login` keeps tokens: readable by their owner only. */
export function loginFile(env: Record<string, string | undefined>): string {
  const base = env["XDG_CONFIG_HOME"] ?? join(env["HOME"] ?? homedir(), ".config");
  return join(base, "signalbox", "login.json");
}

export async function readLogins(file: string): Promise<Logins> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      return { current: null, servers: {} };
    throw new Failure("config", "bad_login_file", `${file} can't be read.`);
  }
  try {
    return logins.parse(JSON.parse(text));
  } catch {
    throw new Failure("config", "bad_login_file", `${file} is damaged. Delete it, then: signalbox login.`);
  }
}

/** Written whole or not at all. */
export async function writeLogins(file: string, saved: Logins): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, `${JSON.stringify(saved, null, 2)}\n`, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}
