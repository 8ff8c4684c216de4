import { constants } from "node:os";

/** What a guest wants to run: given to `/bin/sh -c`. */
export interface ShellCommand {
  command: string;
  cwd: string;
  /** The whole environment. */
  env: Readonly<Record<string, string>>;
}

/** What is spawned for it, which may be a wrapper around a wrapper. */
export interface Launch {
  file: string;
  args: string[];
  cwd: string;
  env: Record<string, string>;
  uid?: number;
  gid?: number;
  /** Written to its standard input; without one it has none. */
  input?: string;
  /** A wrapper reports the end by a signal as code 128 + its number. */
  isWrapped?: true;
}

/** Turns a guest's command into what is spawned: a limit or a cage is put around it here and nowhere else. */
export type Confine = (command: ShellCommand) => Launch;

export const unconfined: Confine = ({ command, cwd, env }) => ({
  file: "/bin/sh",
  args: ["-c", command],
  cwd,
  env: { ...env },
});

/** The exit of the command inside, from that of its wrapper. */
export function exitInside(
  code: number | null,
  signal: string | null,
): { code: number | null; signal: string | null } {
  if (code === null || code <= 128) return { code, signal };
  const name = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return name === undefined ? { code, signal } : { code: null, signal: name };
}
