import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { until } from "./stack.ts";

const SEQUENCE = /\u001b(?:\[[0-9;?]*[A-Za-z]|\][^\u0007]*\u0007)/g;

/** A program in a real pseudo-terminal, and what is on its screen. */
export class LiveTerminal {
  readonly #child: ChildProcess;
  readonly exited: Promise<number | null>;
  /** All that the program wrote, as it wrote it. */
  raw = "";

  constructor(
    words: readonly string[],
    { env, columns = 120, rows = 40 }: { env: Record<string, string>; columns?: number; rows?: number },
  ) {
    const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    const line = `stty cols ${columns} rows ${rows}; exec ${quoted}`;
    this.#child = spawn("script", ["-qec", line, "/dev/null"], {
      env: { TERM: "xterm-256color", ...env },
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.raw += text));
    this.#child.stdin?.on("error", () => undefined); // it may have ended without reading
    this.exited = once(this.#child, "close").then(([code]: unknown[]) =>
      typeof code === "number" ? code : null,
    );
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  /** The lines of the last whole redraw. */
  get screen(): string[] {
    const end = this.raw.lastIndexOf("\u001b[J");
    const begin = this.raw.lastIndexOf("\u001b[H", end);
    return this.raw.slice(begin, end).replace(SEQUENCE, "").split(/\r+\n/);
  }

  /** Waits until a line of the screen fits. */
  async shows(fits: string | RegExp): Promise<string> {
    const found = await until(
      () => ({
        line: this.screen.find((line) => (typeof fits === "string" ? line.includes(fits) : fits.test(line))),
        screen: this.screen,
      }),
      ({ line }) => line !== undefined,
    );
    return found.line ?? "";
  }

  async lacks(text: string): Promise<void> {
    await until(
      () => this.screen,
      (lines) => !lines.some((line) => line.includes(text)),
    );
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
