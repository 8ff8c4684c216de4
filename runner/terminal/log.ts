/** Where a runner tells what it does. Lines hold no secret: known ones are struck out. */
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
  const strike = (line: string): string =>
    secrets.reduce((text, secret) => (secret === "" ? text : text.replaceAll(secret, "[secret]")), line);
  return {
    info: (line) => write(strike(line), false),
    warn: (line) => write(strike(line), true),
    error: (line) => write(strike(line), true),
    debug: (line) => {
      if (debug) write(strike(line), false);
    },
  };
}

function toConsole(line: string, isError: boolean): void {
  if (isError) console.error(line);
  else console.log(line);
}
