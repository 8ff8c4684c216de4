import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import type { Readable, Writable } from "node:stream";
import { RunnerError } from "../runner-error.ts";
import { cleanEnvironment, MARKER_VARIABLE } from "../processes/environment.ts";
import type { ProcessJournal } from "../processes/journal.ts";
import type { GitSettings, Remote } from "./remote.ts";

/** A large repository over a slow line. */
const TIME_LIMIT_MS = 4 * 60_000;
const SAID_LIMIT = 64 * 1024;
/** git takes what it had begun to write away when it is asked to end. */
const END_GRACE_MS = 2_000;
/** Bytes a second, for so many seconds. */
const STALLED = { bytes: 1_000, seconds: 30 };
/** git asks once for each connection, and a push may make some. */
const LOGINS = 8;
/** Of a token alone. Source: GitHub; GitLab and Gitea take any name. */
const TOKEN_USER = "x-access-token";

/** The login comes by a descriptor that only git and its helper have: no argument, no variable and no file shows it. */
const HELPER =
  '!f() { test "$1" = get && read -r u <&3 && read -r p <&3 && printf "username=%s\\npassword=%s\\n" "$u" "$p"; }; f';

export interface GitRun {
  /** Where there is nothing of a guest's. */
  cwd: string;
  settings: GitSettings;
  remote?: Remote;
  /** `TOKEN` or `USER:TOKEN`, for the remote. */
  token?: string | null;
  inherit: readonly string[];
  journal: ProcessJournal;
  /** Who it is for, in the journal. */
  owner: string;
  signal: AbortSignal;
}

/**
 * Runs the runner's own git, on the runner's own repositories alone: no setting and no hook of a workspace counts. Answers what
 * it printed. Throws {@link GitFailure}, or the abort.
 */
export async function runGit(args: readonly string[], run: GitRun): Promise<string> {
  const { signal, journal, owner } = run;
  signal.throwIfAborted();
  const marker = randomUUID();
  // A runner that is killed leaves it running; the next one finds it by its marker.
  await journal.record({ marker, owner, leader: null });
  try {
    return await runMarked(args, run, marker);
  } finally {
    await journal.forget(marker);
  }
}

async function runMarked(args: readonly string[], run: GitRun, marker: string): Promise<string> {
  const { cwd, signal, remote, token = null } = run;
  signal.throwIfAborted();
  const limits = AbortSignal.any([signal, AbortSignal.timeout(TIME_LIMIT_MS)]);
  const child = spawn("git", [...args], {
    cwd,
    env: { ...environment(run), [MARKER_VARIABLE]: marker },
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    // It has helpers, which end with it.
    detached: true,
  });
  const send = (signalName: "SIGTERM" | "SIGKILL"): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, signalName);
    } catch {
      // it has ended
    }
  };
  let killing: NodeJS.Timeout | undefined;
  const end = (): void => {
    send("SIGTERM");
    killing = setTimeout(send, END_GRACE_MS, "SIGKILL");
  };
  limits.addEventListener("abort", end, { once: true });
  const login = child.stdio[3] as Writable | null;
  login?.on("error", () => undefined); // it ended without asking
  if (remote !== undefined && token !== null) login?.end(loginOf(token).repeat(LOGINS));
  else login?.end();
  const said = Promise.all([collect(child.stdio[1] as Readable), collect(child.stdio[2] as Readable)]);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", () =>
      reject(new RunnerError("git_failed", "There is no git on the runner's machine: install it.")),
    );
    child.once("close", resolve);
  }).finally(() => {
    limits.removeEventListener("abort", end);
    clearTimeout(killing);
  });
  const [output, errors] = await said;
  signal.throwIfAborted();
  if (limits.aborted) throw new GitFailure(`git took longer than ${TIME_LIMIT_MS / 60_000} minutes`, errors);
  if (code === 0) return output;
  throw new GitFailure(`git ${args[0]} failed`, errors);
}

/** What git said of it is its own. */
export class GitFailure extends RunnerError {
  readonly said: string;

  constructor(what: string, said: string) {
    super("git_failed", `${what}: ${lastOf(said)}`);
    this.said = said;
  }
}

function environment({ settings, remote, token, inherit, cwd }: GitRun): Record<string, string> {
  const origin =
    remote?.protocol === "https" || remote?.protocol === "http" ? new URL(remote.url).origin : null;
  const config: [string, string][] = [
    ["core.hooksPath", "/dev/null"],
    ["core.fsmonitor", "false"],
    ["gc.auto", "0"],
    ["fetch.recurseSubmodules", "false"],
    ["protocol.allow", "never"],
    ...settings.protocols.map((protocol): [string, string] => [`protocol.${protocol}.allow`, "always"]),
    // Bundles are files.
    ["protocol.file.allow", "always"],
    ["http.lowSpeedLimit", String(STALLED.bytes)],
    ["http.lowSpeedTime", String(STALLED.seconds)],
    ["credential.helper", ""],
    // Nobody else's: a redirect to another host gets no login.
    ...(origin === null || token === null || token === undefined
      ? []
      : ([[`credential.${origin}.helper`, HELPER]] as [string, string][])),
  ];
  const isSsh = remote?.protocol === "ssh";
  const own = isSsh ? ["HOME", "SSH_AUTH_SOCK"] : [];
  return {
    ...cleanEnvironment({ home: cwd, temporary: cwd, inherit }),
    ...Object.fromEntries(
      own.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
    ),
    LC_ALL: "C",
    GIT_TERMINAL_PROMPT: "0",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TEMPLATE_DIR: "",
    GIT_LFS_SKIP_SMUDGE: "1",
    GIT_SSH_COMMAND: "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=20",
    GIT_CONFIG_COUNT: String(config.length),
    ...Object.fromEntries(
      config.flatMap(([name, value], index) => [
        [`GIT_CONFIG_KEY_${index}`, name],
        [`GIT_CONFIG_VALUE_${index}`, value],
      ]),
    ),
  };
}

/** Of `TOKEN` or `USER:TOKEN`. */
export function passwordOf(token: string): string {
  return token.slice(token.indexOf(":") + 1);
}

function loginOf(token: string): string {
  const at = token.indexOf(":");
  const user = at < 0 ? TOKEN_USER : token.slice(0, at);
  const password = passwordOf(token);
  return `${user}\n${password}\n`;
}

/** The beginning and no more; the rest is read and left. */
async function collect(stream: Readable): Promise<string> {
  let text = "";
  for await (const chunk of stream) if (text.length < SAID_LIMIT) text += String(chunk);
  return text.slice(0, SAID_LIMIT);
}

function lastOf(said: string): string {
  const lines = said
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return lines.find((line) => /^(?:fatal|error|remote):/.test(line)) ?? lines.at(-1) ?? "it said nothing";
}
