import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { MARKER_VARIABLE } from "./environment.ts";

/** Their values may stay for others to see. What isn't named may be a secret, whoever reads it. */
const PLAIN = new Set(
  [
    "PATH HOME USER LOGNAME SHELL PWD OLDPWD SHLVL TERM HOSTNAME _",
    "LANG LANGUAGE LC_ALL LC_CTYPE TZ TMPDIR NODE_ENV PORT",
    MARKER_VARIABLE,
    "RUNNER_ID RUNNER_ENROL RUNNER_HEARTBEAT_INTERVAL RUNNER_DRAIN_TIMEOUT RUNNER_LABELS RUNNER_INHERIT_ENV",
    "WORKSPACE_ROOT WORKSPACE_QUOTA_BYTES HEALTH_PORT DEBUG_BUILD",
  ].flatMap((names) => names.split(" ")),
);

/** Programs that a container starts with, which never start anything again. */
const INITS = new Set(["tini", "docker-init", "dumb-init", "catatonit"]);

const COVER = 0x2a;
/** Fields of `/proc/self/stat` behind the program's name. Source: proc_pid_stat(5), 48 to 51. */
const ARGUMENTS = 45;
const ENVIRONMENT = 47;

/**
 * Takes the values of this process's environment, and the given secrets on its command line, out of what the system shows
 * of it (`/proc/PID/environ`, `ps e`): that is the memory it was started with, which it can write. `process.env` and
 * `process.argv` stay as they are. Answers why not where it can't be done.
 */
export function hideSecrets(secrets: readonly string[]): string | null {
  if (process.platform !== "linux") return `${process.platform} shows them to programs of the same user`;
  try {
    // Setting a variable copies it; until then its value is the very memory that is covered here.
    for (const [name, value] of Object.entries(process.env)) process.env[name] = value;
    const left = cover("self", secrets, inEnvironment);
    return left ? "the system shows them all the same" : null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/**
 * Of the processes that started this one, those that still show a secret: npm, a shell. A container's init only waits,
 * so its copy is covered.
 */
export function exposingParents(secrets: readonly string[]): string[] {
  const found: string[] = [];
  const wanted = secrets.filter((secret) => secret !== "");
  for (let pid = process.ppid; pid > 0 && process.platform === "linux";) {
    try {
      const shown = ["environ", "cmdline"]
        .map((file) => readFileSync(`/proc/${pid}/${file}`, "utf8"))
        .join("\0");
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const end = stat.lastIndexOf(")");
      const name = stat.slice(stat.indexOf("(") + 1, end);
      if (wanted.some((secret) => shown.includes(secret)) && !(INITS.has(name) && isCovered(pid, wanted)))
        found.push(`${name} (${pid})`);
      pid = Number(stat.slice(end + 2).split(" ")[1]);
    } catch {
      break; // another user's, which guests can't read either
    }
  }
  return found;
}

function isCovered(pid: number, secrets: readonly string[]): boolean {
  try {
    return !cover(pid, secrets, (block) => inArguments(block, secrets));
  } catch {
    return false; // the system forbids it
  }
}

/** Whether something still shows. */
function cover(
  pid: number | "self",
  secrets: readonly string[],
  inVariables: (block: Buffer) => Range[],
): boolean {
  const memory = openSync(`/proc/${pid}/mem`, "r+");
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat
      .slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    const [argumentsAt = 0, argumentsEnd = 0] = fields.slice(ARGUMENTS);
    const [environmentAt = 0, environmentEnd = 0] = fields.slice(ENVIRONMENT);
    for (const { at, length } of inArguments(read(memory, argumentsAt, argumentsEnd), secrets))
      write(memory, argumentsAt + at, length);
    for (const { at, length } of inVariables(read(memory, environmentAt, environmentEnd)))
      write(memory, environmentAt + at, length);
  } finally {
    closeSync(memory);
  }
  const left = [
    ...inVariables(readFileSync(`/proc/${pid}/environ`)),
    ...inArguments(readFileSync(`/proc/${pid}/cmdline`), secrets),
  ];
  return left.length > 0;
}

interface Range {
  at: number;
  length: number;
}

function inArguments(block: Buffer, secrets: readonly string[]): Range[] {
  const found: Range[] = [];
  for (const secret of secrets.map((text) => Buffer.from(text))) {
    for (let at = block.indexOf(secret); secret.length > 0 && at >= 0; at = block.indexOf(secret, at + 1))
      found.push({ at, length: secret.length });
  }
  return found;
}

/** Values that aren't plain, nor covered yet. */
function inEnvironment(block: Buffer): Range[] {
  const found: Range[] = [];
  for (let start = 0; start < block.length;) {
    const next = block.indexOf(0, start);
    const end = next < 0 ? block.length : next;
    const entry = block.subarray(start, end);
    const equals = entry.indexOf("=");
    const value = entry.subarray(equals + 1);
    const isPlain = PLAIN.has(entry.subarray(0, Math.max(equals, 0)).toString());
    if (equals >= 0 && !isPlain && value.some((byte) => byte !== COVER))
      found.push({ at: start + equals + 1, length: value.length });
    start = end + 1;
  }
  return found;
}

function read(memory: number, from: number, to: number): Buffer {
  if (!(from > 0 && to > from)) throw new Error("The system doesn't say where they are");
  const block = Buffer.alloc(to - from);
  for (let done = 0; done < block.length;) {
    const count = readSync(memory, block, done, block.length - done, from + done);
    if (count === 0) throw new Error("Its memory ends early");
    done += count;
  }
  return block;
}

function write(memory: number, at: number, length: number): void {
  const covered = Buffer.alloc(length, COVER);
  for (let done = 0; done < length;) done += writeSync(memory, covered, done, length - done, at + done);
}
