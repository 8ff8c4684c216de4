import { type ChildProcessByStdio, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { STOP_GRACE_MS } from "../../functions/protocol/limits.ts";
import { type Confine, exitInside, type Launch, unconfined, withoutWrappers } from "../confinement/launch.ts";
import { endProcesses } from "./end-processes.ts";
import { MARKER_VARIABLE } from "./environment.ts";
import type { ProcessJournal } from "./journal.ts";
import { entering, NICENESS } from "./entering.ts";
import type { ProcessGroups } from "./process-group.ts";
import { type Quarry, startTimeOf } from "./process-table.ts";

/** What a command leaves running gets this long to finish its files. */
const LEFTOVER_GRACE_MS = 2_000;
/** The pipes of an ended process hold 128 KiB at most, which take milliseconds to store. */
const OUTPUT_LIMIT_MS = 5_000;

/** Of a command that was stopped before its wrappers had come to it: as if it had been told itself. */
const CUT_SHORT: Exit = { code: null, signal: "SIGTERM" };

export interface Exit {
  code: number | null;
  signal: string | null;
}

/** Takes what a process writes; while it is busy the process waits. */
export type OutputSink = (stream: "stdout" | "stderr", output: Readable) => Promise<void>;

export interface StartOptions {
  /** Given to `/bin/sh -c`. */
  command: string;
  cwd: string;
  /** The whole environment: see {@link cleanEnvironment}. */
  env: Readonly<Record<string, string>>;
  /** Who it is for, in the journal. */
  owner: string;
  /** The system user that is its alone. */
  uid?: number | null;
  journal: ProcessJournal;
  /** Keep together what it starts, where the host can. */
  groups?: ProcessGroups;
  /** Used by nobody else: what still uses it when the command ends is its own, too. */
  directory?: string;
  /** Processes that its user may have at a time; null: no limit. */
  userProcesses?: number | null;
  niceness?: number;
  output: OutputSink;
  /** Gives it a standard input to write to; otherwise it reads nothing. */
  input?: boolean;
  /** What is put around the command; without one, nothing. */
  confine?: Confine;
  graceMs?: number;
  /** Aborting ends a start midway and a running process alike. */
  signal?: AbortSignal;
}

/** A command that the runner has started, with everything that the command starts in turn. */
export class HostedProcess {
  readonly pid: number;
  /** When the command itself has ended; what it started may still be there. */
  readonly exited: Promise<Exit>;
  /**
   * When the command has ended, all that it started is gone, its output is stored and its journal entry deleted. Rejects
   * if something can't be killed.
   */
  readonly finished: Promise<Exit>;
  /** What finds all of it. */
  readonly quarry: Quarry;
  /** With `input`. */
  readonly stdin: Writable | null;
  readonly #end: (graceMs?: number) => Promise<void>;

  private constructor(
    child: { pid: number; stdin: Writable | null },
    quarry: Quarry,
    exited: Promise<Exit>,
    finished: Promise<Exit>,
    end: (graceMs?: number) => Promise<void>,
  ) {
    this.pid = child.pid;
    this.stdin = child.stdin;
    this.quarry = quarry;
    this.exited = exited;
    this.finished = finished;
    this.#end = end;
    finished.catch(() => undefined);
  }

  /** Resolves once it is on its way and in the journal. Rejects, with nothing left running, if `signal` aborts first. */
  static async start(options: StartOptions): Promise<HostedProcess> {
    const { journal, owner, signal, uid = null } = options;
    const marker = randomUUID();
    signal?.throwIfAborted();
    const { command, cwd, env, confine = unconfined, directory = null } = options;
    const group = (await options.groups?.make(marker)) ?? null;
    const entry = { marker, owner, uid, directory, group: group?.path ?? null };
    let child: ChildProcessByStdio<Writable | null, Readable, Readable>;
    let pid: number | undefined;
    let launched: Launch;
    try {
      await journal.record({ ...entry, leader: null });
      signal?.throwIfAborted();
      const launch = confine({
        command,
        cwd,
        env: { ...env, [MARKER_VARIABLE]: marker },
        takesInput: options.input === true,
      });
      launched = launch;
      child = spawnDetached(
        entering(launch, group && marker, options.userProcesses ?? null, options.niceness ?? NICENESS.server),
        marker,
        options.input === true,
      );
      pid = child.pid;
      if (pid !== undefined) group?.admit(pid);
      if (pid === undefined) await once(child, "spawn"); // rejects with the reason
    } catch (error) {
      await group?.remove();
      await journal.forget(marker);
      throw error;
    }
    if (pid === undefined) throw new Error("The system gave the process no id.");

    const isWrapped = launched.input !== undefined;
    let hasBegun = !isWrapped;
    let isCutShort = false;
    const exited = exitOf(child, isWrapped).then((exit) => (isCutShort ? CUT_SHORT : exit));
    const stored = Promise.allSettled([
      options.output("stdout", child.stdout),
      options.output(
        "stderr",
        isWrapped
          ? child.stderr.pipe(
              withoutWrappers({ begun: () => void (hasBegun = true), isOfInterest: () => !isCutShort }),
            )
          : child.stderr,
      ),
    ]);
    // Gone already: its group may still live.
    const leader = { pid, startTime: (await startTimeOf(pid)) ?? "gone" };
    const quarry: Quarry = { marker, leader, uid, isOwnChild: true, group, directory };
    const recorded = journal.record({ ...entry, leader });
    recorded.catch(() => undefined);
    let ending: Promise<void> | null = null;
    const end = (graceMs: number): Promise<void> => (ending ??= endProcesses(quarry, graceMs));
    const stop = async (graceMs = options.graceMs ?? STOP_GRACE_MS): Promise<void> => {
      // What it has said may be there to be read.
      if (!hasBegun) await new Promise((resolve) => setTimeout(resolve, 1));
      if (ending !== null || hasBegun) return end(graceMs);
      // Wrappers take no notice of a signal, or make an exit of their own of it; nothing else is there to be asked.
      isCutShort = true;
      return end(0);
    };
    const onAbort = (): void => void stop().catch(() => undefined); // `finished` rejects with the same reason
    const finished = (async () => {
      const exit = await exited;
      await end(LEFTOVER_GRACE_MS);
      signal?.removeEventListener("abort", onAbort);
      // A process that shed every mark may still hold the pipes: don't wait for it.
      await Promise.race([stored, sleep(OUTPUT_LIMIT_MS, undefined, { ref: false })]);
      child.stdout.destroy();
      child.stderr.destroy();
      // An entry written after its deletion would stay.
      await recorded.catch(() => undefined);
      await group?.remove();
      await journal.forget(marker);
      return exit;
    })();
    const hosted = new HostedProcess({ pid, stdin: child.stdin }, quarry, exited, finished, stop);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      signal?.throwIfAborted();
      await recorded;
      signal?.throwIfAborted();
      return hosted;
    } catch (error) {
      await hosted.stop();
      throw error;
    }
  }

  /** SIGTERM to all of it, the grace, SIGKILL; resolves when nothing of it is left. */
  async stop(): Promise<Exit> {
    await this.#end();
    return this.finished;
  }

  /** As `stop`, but at once: it takes what others need. */
  async kill(): Promise<Exit> {
    await this.#end(0);
    return this.finished;
  }
}

/** The leader of a group of its own. */
function spawnDetached(
  { file, args, input, ...options }: Launch,
  marker: string,
  takesInput: boolean,
): ChildProcessByStdio<Writable | null, Readable, Readable> {
  const how = { ...options, env: { ...options.env, [MARKER_VARIABLE]: marker }, detached: true };
  if (input === undefined && !takesInput)
    return spawn(file, args, { ...how, stdio: ["ignore", "pipe", "pipe"] });
  const child = spawn(file, args, { ...how, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => undefined); // it ended before it read: its exit says why
  if (input !== undefined) child.stdin.write(input);
  if (!takesInput) child.stdin.end();
  return child;
}

function exitOf(
  child: ChildProcessByStdio<Writable | null, Readable, Readable>,
  isWrapped: boolean,
): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) =>
      resolve(isWrapped ? exitInside({ code, signal }) : { code, signal }),
    );
  });
}
