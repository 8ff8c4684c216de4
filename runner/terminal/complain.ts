import { printable } from "../../functions/protocol/printable.ts";
import { sayLine } from "./lines.ts";

/** Says on stderr what went wrong. Names and texts of others are in it, and can't steer the terminal. */
export function complain(what: string, error?: unknown): void {
  sayLine(printable(error === undefined ? what : `${what}: ${described(error)}`), true);
}

function described(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
