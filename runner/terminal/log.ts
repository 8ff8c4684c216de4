import { printable } from "../../functions/protocol/printable.ts";
import { sayLine } from "./lines.ts";

/** Where a runner tells what it does. Known secrets are struck out; what peers say can't steer the terminal. */
export interface Log {
  info(line: string): void;
  warn(line: string): void;
  error(line: string): void;
  /** Only with DEBUG_BUILD. */
  debug(line: string): void;
}

interface LogOptions {
  debug: boolean;
  secrets: readonly string[];
  write?: (line: string, isError: boolean) => void;
}

export function createLog({ debug, secrets, write = sayLine }: LogOptions): Log {
  // In this order: an escape sequence in a secret would hide it. Further lines are indented, or a peer could forge one.
  const clean = (line: string): string =>
    secrets
      .filter((secret) => secret !== "")
      .reduce((text, secret) => text.replaceAll(secret, "[secret]"), printable(line))
      .replaceAll("\n", "\n    ");
  return {
    info: (line) => write(clean(line), false),
    warn: (line) => write(clean(line), true),
    error: (line) => write(clean(line), true),
    debug: (line) => {
      if (debug) write(clean(line), false);
    },
  };
}
