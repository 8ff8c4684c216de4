import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";

/**
 * Runs a command that dies with this process, even when this process is killed: a shell between the two holds a
 * pipe from here, and when that closes it kills the command. The command's environment comes through that pipe, up to a
 * line that says `$0`: the shell's own would show its secrets for as long as it runs.
 */
const GUARD = `exec 4<&0
child=; asked=
trap 'if [ -n "$child" ]; then kill -TERM $child 2>/dev/null; else asked=1; fi' TERM INT HUP
variables=$(while IFS= read -r line <&4 && [ "$line" != "$0" ]; do printf '%s\\n' "$line"; done; [ "$line" = "$0" ]) || exit 1
{ eval "$variables"; exec "$@" </dev/null 4<&-; } & child=$!
unset variables
[ -z "$asked" ] || kill -TERM $child 2>/dev/null
{ read -r _ <&4; kill -KILL $child 2>/dev/null; } & watch=$!
exec 4<&-
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
{ kill $watch; wait $watch; } 2>/dev/null
exit $status`;

/** How long a process may take to end by itself before it is killed. */
const STOP_GRACE_MS = 5_000;

export class GuardedProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;

  constructor(
    command: string,
    args: string[],
    options: {
      env?: Record<string, string>;
      cwd?: string;
      stdout?: "inherit" | "pipe" | "ignore";
      /** Also gives the command a file descriptor 3 to write to. */
      controlPipe?: boolean;
    } = {},
  ) {
    const output = options.stdout ?? "inherit";
    const end = `guard-${randomUUID()}`;
    const { named, exported } = inShell(options.env ?? {});
    this.child = spawn("/bin/sh", ["-c", GUARD, end, command, ...args], {
      cwd: options.cwd,
      env: options.env === undefined ? process.env : named,
      stdio: ["pipe", output, output, options.controlPipe ? "pipe" : "ignore"],
      // Its own group, so that Ctrl-C reaches this process first and ends things in order.
      detached: true,
    });
    // The guard may be gone before the pipe to it is.
    this.child.stdin?.on("error", () => undefined);
    this.child.stdin?.write(`${exported}${end}\n`);
    this.exited = once(this.child, "exit").then(([code]: unknown[]) =>
      typeof code === "number" ? code : null,
    );
    this.exited.catch(() => undefined);
  }

  /** Ends the command: politely, then not. Resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) {
      // Should only the guard have died, this is what ends the command.
      this.child.stdin?.destroy();
      return;
    }
    this.child.kill("SIGTERM");
    const force = setTimeout(() => this.child.stdin?.destroy(), STOP_GRACE_MS);
    await this.exited;
    clearTimeout(force);
  }

  /** Ends the command at once, as a power cut would. */
  async kill(): Promise<void> {
    this.child.stdin?.destroy();
    await this.exited;
  }
}

/** Only what has a shell's name can be exported. */
function inShell(env: Record<string, string>): { named: Record<string, string>; exported: string } {
  const entries = Object.entries(env);
  const isShellName = ([name]: [string, string]): boolean => /^[A-Za-z_]\w*$/.test(name) && name !== "PATH";
  return {
    named: Object.fromEntries(entries.filter((entry) => !isShellName(entry))),
    exported: entries
      .filter(isShellName)
      .map(([name, value]) => `export ${name}='${value.replaceAll("'", `'\\''`)}'\n`)
      .join(""),
  };
}
