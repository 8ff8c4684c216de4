import { randomBytes } from "node:crypto";
import { stripVTControlCharacters, styleText } from "node:util";
import { printable } from "../../functions/protocol/printable.ts";
import type { Failure } from "./failure.ts";

/** The part of a terminal or pipe that output needs. */
export interface Sink {
  write(text: string | Uint8Array): unknown;
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

/** What stands before a line that somebody else wrote, so that it can't pass for one of ours. */
const QUOTE = "  │ ";
/** What JSON leaves as it is and a terminal obeys. */
const UNESCAPED = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * Where results, remarks and errors go: for people, or with `--json` for programs. The one writer to the terminal:
 * whatever control character isn't from its own styles is made visible or taken out.
 */
export class Output {
  readonly json: boolean;
  /** Whether a person looks at standard output right now. */
  readonly live: boolean;
  readonly style: Style;
  readonly #stdout: Sink;
  readonly #stderr: Sink;
  /** Stands for the escape character in our own styles. What others write can't hold it. */
  readonly #escape = `\u{f0000}${randomBytes(16).toString("hex")}`;

  constructor({ stdout, stderr, env, json, noColor }: OutputOptions) {
    const terminal = stdout.isTTY === true && env["TERM"] !== "dumb";
    const color = terminal && !json && !noColor && (env["NO_COLOR"] ?? "") === "";
    this.json = json;
    // A pseudo-terminal without a size can't be drawn on.
    this.live = terminal && !json && (stdout.columns ?? 0) > 0;
    this.style = this.#styles(color);
    this.#stdout = stdout;
    this.#stderr = stderr;
  }

  /** A command's result: the value with `--json`, else what the function writes for people. */
  result(value: unknown, forPeople: () => string): void {
    if (this.json) this.#stdout.write(`${json(value, 2)}\n`);
    else this.say(forPeople());
  }

  /** One of many lines that follow each other: one JSON object, or text. */
  event(value: unknown, forPeople: () => string | null): void {
    if (this.json) {
      this.#stdout.write(`${json(value)}\n`);
      return;
    }
    const text = forPeople();
    if (text !== null) this.say(text);
  }

  /** A file as it is; in a terminal without what would steer that. */
  content(data: Uint8Array): void {
    if (this.#stdout.isTTY === true) this.say(Buffer.from(data).toString("utf8"));
    else this.#stdout.write(data);
  }

  /** For people only. */
  say(text: string): void {
    if (!this.json) this.#stdout.write(this.rendered(text.endsWith("\n") ? text : `${text}\n`));
  }

  /** A remark beside the result; never on standard output. */
  remark(text: string): void {
    if (!this.json) this.#stderr.write(this.rendered(`${text}\n`));
  }

  failure(failure: Pick<Failure, "code" | "message" | "exitCode">): void {
    const { code, message, exitCode } = failure;
    if (this.json) this.#stderr.write(`${json({ error: { code, message, exitCode } })}\n`);
    else this.#stderr.write(this.rendered(`${this.style.red("signalbox:")} ${message}\n`));
  }

  /** A text as a terminal may get it. For those that write there themselves: prompts and what is drawn in place. */
  rendered(text: string): string {
    return printable(text).replaceAll(this.#escape, "\u001b");
  }

  /** A line of a build or an app, apart from ours: also where a terminal would break it. */
  quoted(line: string): string {
    const text = oneLine(printable(line));
    const room = this.live ? Math.max(8, (this.#stdout.columns ?? 80) - QUOTE.length - 1) : Infinity;
    const rows: string[] = [];
    let row = "";
    let taken = 0;
    for (const character of text) {
      // As wide as any is in any terminal: too short a row does no harm.
      const columns = character > "\u007f" ? 2 : 1;
      if (taken + columns > room) {
        rows.push(row);
        [row, taken] = ["", 0];
      }
      row += character;
      taken += columns;
    }
    return [...rows, row].map((part) => this.style.dim(`${QUOTE}${part}`)).join("\n");
  }

  /** Rows under a header, in columns as wide as they need. */
  table(header: readonly string[], rows: readonly (readonly string[])[]): string {
    const all = [header, ...rows].map((row) => row.map((cell) => oneLine(printable(cell))));
    const width = (cell: string): number => stripVTControlCharacters(this.rendered(cell)).length;
    const widths = header.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ""))));
    const line = (row: readonly string[]): string =>
      row
        .map((cell, column) => cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - width(cell))))
        .join("  ")
        .trimEnd();
    const [first = [], ...others] = all;
    return [this.style.dim(line(first)), ...others.map(line)].join("\n");
  }

  #styles(color: boolean): Style {
    const entries = FORMATS.map((format) => [
      format,
      (text: string) => {
        const inner = this.rendered(oneLine(text));
        // Left to itself, Node asks the environment and the process's own output, which need not be this one.
        const styled = color ? styleText(format, inner, { validateStream: false }) : inner;
        return styled.replaceAll("\u001b", this.#escape);
      },
    ]);
    return Object.fromEntries(entries) as Style;
  }
}

const FORMATS = ["bold", "dim", "underline", "red", "green", "yellow", "cyan"] as const;
export type Style = Record<(typeof FORMATS)[number], (text: string) => string>;

/** A line feed in what others write would begin a line that looks like ours. */
export function oneLine(text: string): string {
  return text.replace(/[\t\n]+/g, " ");
}

function json(value: unknown, indent?: number): string {
  const escaped = (character: string): string =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value, null, indent).replace(UNESCAPED, escaped);
}
