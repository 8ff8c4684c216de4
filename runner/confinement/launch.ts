import { constants } from "node:os";
import { Transform } from "node:stream";

/** What a guest wants to run: given to `/bin/sh -c`. */
export interface ShellCommand {
  command: string;
  cwd: string;
  /** The whole environment. */
  env: Readonly<Record<string, string>>;
  /** Its standard input is the caller's to write. */
  takesInput?: boolean;
}

/** What is spawned for it, which may be a wrapper around a wrapper. */
export interface Launch {
  file: string;
  args: string[];
  cwd: string;
  env: Record<string, string>;
  uid?: number;
  gid?: number;
  /** Of a wrapper alone: what its standard input says, since a guest's variables are no business of a wrapper. */
  input?: string;
}

/** Turns a guest's command into what is spawned: a limit or a cage is put around it here and nowhere else. */
export type Confine = (command: ShellCommand) => Launch;

export const unconfined: Confine = ({ command, cwd, env }) => ({
  file: "/bin/sh",
  args: ["-c", command],
  cwd,
  env: { ...env },
});

/** ASCII's record separator: the wrappers are done, and what follows on stderr is the guest's. */
const BEGIN = "\x1e";
const SAID_LIMIT = 16 * 1024;
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * The end of a namespace's first command is that of all in it. Asked to end, a shell does so at once, and its server
 * would have no time to: so this one waits for the rest then, until the runner's patience ends. It is alone with the
 * namespace's own process 1 at last.
 */
const AS_FIRST = `trap : TERM; eval "$script"; s=$?
if [ $s = 143 ]; then while set -- /proc/[0-9]*; [ $# -gt 2 ]; do sleep 0.05; done; fi; exit $s`;
/** A shell reads a pipe byte by byte, so what follows this line is the command's. */
const END_OF_SCRIPT = "# the command's own input follows";
const READ_SCRIPT = `script=; while IFS= read -r line && [ "$line" != "${END_OF_SCRIPT}" ]; do script="$script$line
"; done`;
/** The shell's own word on how its command ended goes nowhere. */
const HUSHED = "exec 3>&2 2>/dev/null;";

/**
 * A command that runs as the last of wrappers. Its environment comes by standard input: in theirs, LD_PRELOAD would
 * run a guest's code outside, and on a command line every user of the machine reads it.
 */
export function wrapped(
  wrappers: readonly string[],
  { command, cwd, env, takesInput = false }: ShellCommand,
  { umask, isFirst }: { umask: "007" | "022"; isFirst: boolean },
): Launch {
  const [file = "", ...args] = wrappers;
  const variables = Object.entries(env).map(([name, value]) => quoted(`${name}=${value}`));
  return {
    file,
    args: [
      ...args,
      "/bin/sh",
      "-c",
      `printf '\\036' >&2; ${READ_SCRIPT}; ${isFirst ? AS_FIRST : 'eval "$script"'}`,
    ],
    cwd: "/",
    env: { PATH: SYSTEM_PATH },
    // Only now: root without its powers couldn't enter a directory of the guest's.
    input: `umask ${umask}; cd ${quoted(cwd)} || exit 126; ${isFirst ? HUSHED : "exec"} /usr/bin/env -i ${variables.join(" ")} /bin/sh -c ${quoted(command)}${takesInput ? "" : " </dev/null"}${isFirst ? " 2>&3 3>&-" : ""}\n${END_OF_SCRIPT}\n`,
  };
}

export interface WrapperEvents {
  /** The guest's command comes next. */
  begun?: () => void;
  /** Whether somebody wants to know why it never began. */
  isOfInterest?: () => boolean;
}

/** Keeps back what wrappers say until the guest begins: it is of interest only if the guest never does. */
export function withoutWrappers({ begun, isOfInterest }: WrapperEvents = {}): Transform {
  let said: string | null = "";
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (said === null) return done(null, chunk);
      said += chunk.toString("latin1");
      const begin = said.indexOf(BEGIN);
      if (begin === -1 && said.length < SAID_LIMIT) return done();
      const rest = Buffer.from(said.slice(begin + 1), "latin1");
      said = null;
      if (begin !== -1) begun?.();
      done(null, rest);
    },
    flush(done) {
      const isShown = said !== null && isOfInterest?.() !== false;
      done(null, isShown ? Buffer.from(said ?? "", "latin1") : undefined);
    },
  });
}

/** The end of the command inside: a wrapper reports a signal as code 128 and its number. */
export function exitInside(exit: { code: number | null; signal: string | null }): typeof exit {
  const { code } = exit;
  if (code === null || code <= 128) return exit;
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal === undefined ? exit : { code: null, signal };
}

export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
