import { printable } from "../../functions/protocol/printable.ts";

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

export function createLog({ debug, secrets, write = toConsole }: LogOptions): Log {
  const clean = (line: string): string =>
    printable(
      secrets.reduce((text, secret) => (secret === "" ? text : text.replaceAll(secret, "[secret]")), line),
    );
  return {
    info: (line) => write(clean(line), false),
    warn: (line) => write(clean(line), true),
    error: (line) => write(clean(line), true),
    debug: (line) => {
      if (debug) write(clean(line), false);
    },
  };
}

function toConsole(line: string, isError: boolean): void {
  if (isError) console.error(line);
  else console.log(line);
}
