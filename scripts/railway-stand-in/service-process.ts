import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/**
 * The command and all that it starts share this shell's process group, and a pipe is held from here: when this process
 * ends, however it ends, the pipe closes and the whole group is killed. The shell itself and its watch ignore SIGTERM,
 * so that the group can be asked to end.
 */
const CONTAINER = `exec 4<&0
trap : TERM INT HUP
"$@" </dev/null 4<&- & child=$!
{ trap '' TERM INT HUP; cat <&4 >/dev/null; kill -KILL 0; } >/dev/null 2>&1 &
exec 4<&-
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
exit $status`;

/** A command in what stands for its container: one process group that ends as a whole. */
export class ServiceProcess {
  /** The command's exit code, once it has ended; those it left behind are killed by then. */
  readonly exited: Promise<number>;
  readonly #child: ChildProcess;
  #hasEnded = false;

  constructor(
    command: readonly string[],
    options: {
      cwd: string;
      env: Record<string, string>;
      onLine: (line: string, severity: "info" | "error") => void;
    },
  ) {
    this.#child = spawn("/bin/sh", ["-c", CONTAINER, "service", ...command], {
      cwd: options.cwd,
      env: options.env,
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    const { stdin, stdout, stderr } = this.#child;
    // The container may be gone before the pipe to it is.
    stdin?.on("error", () => undefined);
    if (stdout) createInterface({ input: stdout }).on("line", (line) => options.onLine(line, "info"));
    if (stderr) createInterface({ input: stderr }).on("line", (line) => options.onLine(line, "error"));
    this.exited = this.#end().catch((error: unknown) => {
      options.onLine(String(error), "error");
      return 127;
    });
  }

  /** The process group's id. */
  get group(): number {
    return this.#child.pid ?? 0;
  }

  /** Asks all of it to end, kills what is left after the grace, and resolves when the command has ended. */
  async stop(graceMs: number): Promise<void> {
    this.#signal("SIGTERM");
    const force = setTimeout(() => this.#signal("SIGKILL"), graceMs);
    await this.exited;
    clearTimeout(force);
  }

  async #end(): Promise<number> {
    const [code] = (await once(this.#child, "exit")) as [number | null];
    this.#signal("SIGKILL");
    this.#hasEnded = true;
    this.#child.stdin?.destroy();
    return code ?? 137;
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#hasEnded || this.group === 0) return;
    try {
      process.kill(-this.group, signal);
    } catch {
      // Nobody is left in the group.
    }
  }
}
