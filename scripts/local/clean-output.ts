import type { Readable, Writable } from "node:stream";
import { printable } from "../../functions/protocol/printable.ts";

/** A line of more is broken. */
const LINE_LIMIT = 16 * 1024;

/** Passes on what a program writes, line by line, without what would steer the terminal: texts of others are in it. */
export function passOn(from: Readable | null, to: Writable): void {
  let rest = "";
  from?.setEncoding("utf8");
  from?.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LINE_LIMIT) {
      lines.push(rest);
      rest = "";
    }
    if (lines.length > 0) to.write(`${printable(lines.join("\n"))}\n`);
  });
  from?.on("end", () => {
    if (rest !== "") to.write(`${printable(rest)}\n`);
  });
}
