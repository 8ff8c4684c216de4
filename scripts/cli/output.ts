import { stripVTControlCharacters, styleText } from "node:util";
import type { Failure } from "./failure.ts";

/** The part of a terminal or pipe that output needs. */
export interface Sink {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface OutputOptions {
  stdout: Sink;
  stderr: Sink;
  env: Record<string, string | undefined>;
  json: boolean;
  noColor: boolean;
}

/** Where results, remarks and errors go: for people, or with `--json` for programs. */
export class Output {
  readonly json: boolean;
  /** Whether a person looks at standard output right now. */
  readonly live: boolean;
  readonly style: Style;
  readonly #stdout: Sink;
  readonly #stderr: Sink;

  constructor({ stdout, stderr, env, json, noColor }: OutputOptions) {
    const terminal = stdout.isTTY === true && env["TERM"] !== "dumb";
    const color = terminal && !json && !noColor && (env["NO_COLOR"] ?? "") === "";
    this.json = json;
    // A pseudo-terminal without a size can't be drawn on.
    this.live = terminal && !json && (stdout.columns ?? 0) > 0;
    this.style = styles(color);
    this.#stdout = stdout;
    this.#stderr = stderr;
  }

  /** A command's result: the value with `--json`, else what the function writes for people. */
  result(value: unknown, forPeople: () => string): void {
    if (this.json) this.#stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    else this.say(forPeople());
  }

  /** One of many lines that follow each other: one JSON object, or text. */
  event(value: unknown, forPeople: () => string | null): void {
    if (this.json) {
      this.#stdout.write(`${JSON.stringify(value)}\n`);
      return;
    }
    const text = forPeople();
    if (text !== null) this.say(text);
  }

  /** For people only. */
  say(text: string): void {
    if (!this.json) this.#stdout.write(text.endsWith("\n") ? text : `${text}\n`);
  }

  /** A remark beside the result; never on standard output. */
  remark(text: string): void {
    if (!this.json) this.#stderr.write(`${text}\n`);
  }

  failure(failure: Pick<Failure, "code" | "message" | "exitCode">): void {
    const { code, message, exitCode } = failure;
    if (this.json) this.#stderr.write(`${JSON.stringify({ error: { code, message, exitCode } })}\n`);
    else this.#stderr.write(`${this.style.red("signalbox:")} ${message}\n`);
  }

  /** Rows under a header, in columns as wide as they need. */
  table(header: readonly string[], rows: readonly (readonly string[])[]): string {
    const all = [header, ...rows];
    const widths = header.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ""))));
    const line = (row: readonly string[]): string =>
      row
        .map((cell, column) => cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - width(cell))))
        .join("  ")
        .trimEnd();
    return [this.style.dim(line(header)), ...rows.map(line)].join("\n");
  }
}

const FORMATS = ["bold", "dim", "underline", "red", "green", "yellow", "cyan"] as const;
type Style = Record<(typeof FORMATS)[number], (text: string) => string>;

function styles(color: boolean): Style {
  const entries = FORMATS.map((format) => [
    format,
    // Left to itself, Node asks the environment and the process's own output, which need not be this one.
    (text: string) => (color ? styleText(format, text, { validateStream: false }) : text),
  ]);
  return Object.fromEntries(entries) as Style;
}

/** How many columns text takes, colours aside. */
function width(text: string): number {
  return stripVTControlCharacters(text).length;
}
