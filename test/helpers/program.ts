import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { GuardedProcess } from "../../scripts/local/guarded-process.ts";

/** A program under test, with what it writes. It dies with the test's own process, however that ends. */
export class Program {
  /** Lines of stdout and stderr so far. */
  readonly lines: string[] = [];
  /** When it is gone and all that it wrote is in `lines`. */
  readonly exited: Promise<number | null>;
  readonly #guarded: GuardedProcess;
  readonly #wakes = new Set<() => void>();
  #isOver = false;

  constructor(
    [command, ...args]: readonly [command: string, ...args: string[]],
    options: { env: Record<string, string>; cwd?: string },
  ) {
    this.#guarded = new GuardedProcess(command, args, { ...options, stdout: "pipe" });
    const { child } = this.#guarded;
    for (const stream of [child.stdout, child.stderr]) {
      let rest = "";
      stream?.setEncoding("utf8").on("data", (text: string) => {
        const parts = (rest + text).split("\n");
        rest = parts.pop() ?? "";
        this.lines.push(...parts);
        this.#wake();
      });
    }
    this.exited = once(child, "close").then(([code]: unknown[]) => {
      this.#isOver = true;
      this.#wake();
      return typeof code === "number" ? code : null;
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Its own process id, not that of the shell that guards it. */
  get pid(): number {
    return commandOf(this.#guarded.child.pid ?? 0);
  }

  output(): string {
    return this.lines.join("\n");
  }

  /** The first line that fits, which may have been written already. */
  async line(fits: string | RegExp): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) =>
        typeof fits === "string" ? line.includes(fits) : fits.test(line),
      );
      if (found !== undefined) return found;
      if (this.#isOver) throw new Error(`It ended without ${String(fits)}: ${this.output()}`);
      await new Promise<void>((resolve) => this.#wakes.add(resolve));
    }
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.pid, name);
  }

  /** SIGTERM, and the orderly end. */
  async stop(): Promise<void> {
    if (!this.#isOver) this.#guarded.child.kill("SIGTERM");
    await this.exited;
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    await this.#guarded.kill();
    await this.exited;
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
    this.#wakes.clear();
  }
}

/** The command behind a GuardedProcess, whose own process is a shell. */
export function commandOf(guard: number): number {
  const [first = ""] = readFileSync(`/proc/${guard}/task/${guard}/children`, "utf8").split(" ");
  // To the id 0 a signal would go to every process of the test.
  if (first === "") throw new Error(`Process ${guard} runs nothing.`);
  return Number(first);
}

export function residentMiB(pid: number): number {
  return memoryMiB(pid, "VmRSS");
}

/**
 * What a process has allocated. Without the pages of its executable: how many of those count as resident is the kernel's
 * choice (40 MiB more for a file that was just written), and every process of that executable shares them.
 */
export function allocatedMiB(pid: number): number {
  return memoryMiB(pid, "RssAnon");
}

function memoryMiB(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? Number.NaN) / 1024;
}

/** Ids of living processes, but for this one, with all of these texts in their environment. */
export function processesWith(...texts: string[]): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "latin1");
      return texts.every((text) => environment.includes(text)) ? [Number(name)] : [];
    } catch {
      return []; // it has ended meanwhile, or is another user's
    }
  });
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export function endNow(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}
