import { spawn } from "node:child_process";
import { once } from "node:events";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { Failure } from "../failure.ts";

/** Variables that hold what must not leak, by their names. */
const SECRET_NAME = /TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|(?:^|_)(?:AUTH|KEY|PAT)(?:_|$)|APIKEY|_KEY$/i;

/**
 * Runs a project's own build before packing, as `npm run` would: its tools are on the path. It sees no token: whoever
 * wrote it need not be whoever deploys.
 */
export async function runPrepare(
  { command, cwd }: { command: string; cwd: string },
  options: { env: Record<string, string | undefined>; log: (line: string) => void; signal?: AbortSignal },
): Promise<void> {
  const child = spawn(command, {
    cwd,
    shell: true,
    env: { ...withoutSecrets(options.env), PATH: searchPath(cwd, options.env["PATH"] ?? "") },
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.signal ? { signal: options.signal } : {}),
  });
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", options.log);
  const [code, signal]: unknown[] = await once(child, "close");
  if (code === 0) return;
  const how = typeof code === "number" ? `ended with ${code}` : `was ended by ${String(signal)}`;
  throw new Failure("failed", "prepare_failed", `\`${command}\` (prepare) ${how}; its output is above.`);
}

/** Without tokens, and addresses with a password in them except a proxy's, which downloads need. */
export function withoutSecrets(env: Record<string, string | undefined>): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(env).filter(
      ([name, value = ""]) =>
        !SECRET_NAME.test(name) &&
        (/_proxy$/i.test(name) || !/^[a-z][\w+.-]*:\/\/[^/\s]*:[^/\s]*@/i.test(value)),
    ),
  );
}

function searchPath(directory: string, path: string): string {
  const own: string[] = [];
  for (let at = directory; ; at = dirname(at)) {
    own.push(join(at, "node_modules", ".bin"));
    if (dirname(at) === at) return [...own, path].join(delimiter);
  }
}
