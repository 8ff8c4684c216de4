import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { Capture } from "../logs/capture.ts";
import { type LogFile, systemLine } from "../logs/log-file.ts";
import { asRunnerError } from "../runner-error.ts";
import type { Confinement, GuestUser, Publication } from "../confinement/confinement.ts";
import { cleanEnvironment } from "../processes/environment.ts";
import { type Exit, HostedProcess, type OutputSink } from "../processes/hosted-process.ts";
import { ActivityWatch } from "../processes/activity.ts";
import { NICENESS } from "../processes/entering.ts";
import type { ProcessJournal } from "../processes/journal.ts";
import type { Quarry } from "../processes/process-table.ts";
import type { Shares } from "../shares/shares.ts";
import type { Disk } from "../workspaces/disk.ts";

/** Room for a stack trace and the command that led to it. */
const LAST_LINES = 20;

/** A look costs a walk over all processes. */
const STALL_LOOK_MS = 15_000;

/** A step failed; the message says how. */
export class StepFailure extends Error {
  override readonly name = "StepFailure";
  readonly lastLines: string[];

  constructor(message: string, lastLines: readonly string[]) {
    super(message);
    this.lastLines = [...lastLines];
  }
}

/** It took more than its share, and was ended. */
export class ShareExceeded extends StepFailure {}

export interface StepOptions {
  /** Said in logs and failures: install, build, start. */
  step: string;
  command: string;
  signal: AbortSignal;
  owner: string;
  journal: ProcessJournal;
  disk: Disk;
  shares: Shares;
  log: LogFile;
  /** The deployment's own, and all that it writes to. */
  directory: string;
  work: string;
  home: string;
  /** By all deployments of its app. */
  isHomeShared: boolean;
  temporary: string;
  /** Directories of programs, after the source's own. */
  binaries: readonly string[];
  inherit: readonly string[];
  given: Readonly<Record<string, string>>;
  confinement: Confinement;
  user: GuestUser | null;
  /** What it may read besides the system and its own. */
  readable: readonly string[];
  /** Where it serves. */
  port: number | null;
  usesGateway?: boolean;
  usesPackages?: boolean;
  graceMs: number;
  diskCheckMs: number;
}

/** Runs a command to its end. Throws {@link StepFailure} if it fails, `disk_full`, or the abort. */
export async function runStep(
  options: StepOptions & {
    limitMs: number;
    /** It ends when it gets nowhere for so long. */ stallMs?: number;
  },
): Promise<void> {
  const { step, signal, disk, limitMs, stallMs } = options;
  const capture = new Capture(options.log, step, LAST_LINES);
  const limits = new AbortController();
  const timer = setTimeout(() => {
    limits.abort(new StepFailure(`The ${step} took longer than ${limitMs / 1_000} s`, capture.lastLines));
  }, limitMs);
  // The command writes without asking: stop it while others still have room.
  const watch = setInterval(() => {
    disk.touch(options.work);
    disk.reserve(0).then(
      (room) => room.release(),
      (error: unknown) => limits.abort(new StepFailure(asRunnerError(error).message, capture.lastLines)),
    );
  }, options.diskCheckMs);
  let stall: NodeJS.Timeout | undefined;
  try {
    const activity = new ActivityWatch();
    const { process, excess } = await host(
      options,
      capture.lastLines,
      (stream, output) => {
        output.on("data", () => activity.moved());
        return capture.read(stream, output);
      },
      AbortSignal.any([signal, limits.signal]),
    );
    if (stallMs !== undefined) {
      const look = async (): Promise<void> => {
        if ((await activity.idleMs(process.quarry)) < stallMs) return;
        const reason = `The ${step} got nowhere for ${Math.round(stallMs / 1_000)} s`;
        limits.abort(new StepFailure(reason, capture.lastLines));
      };
      stall = setInterval(() => void look(), Math.min(stallMs / 4, STALL_LOOK_MS));
    }
    const exit = await process.finished;
    signal.throwIfAborted();
    limits.signal.throwIfAborted();
    const exceeded = excess();
    if (exceeded !== null) throw exceeded;
    if (exit.code !== 0) throw new StepFailure(`The ${step} ${describeExit(exit)}`, capture.lastLines);
  } finally {
    clearTimeout(timer);
    clearInterval(watch);
    clearInterval(stall);
    disk.touch(options.work);
  }
}

export interface Server {
  /** When nobody answers any more. */
  exited: Promise<Exit>;
  /** What finds all of it. */
  quarry: Quarry;
  /** When it ended by itself, and everything that it started is gone. */
  ended: Promise<StepFailure>;
  lastLines: readonly string[];
  reach: Publication["reach"];
  stop(): Promise<Exit>;
}

/** Starts a command that runs until it is stopped. */
export async function startServer(options: StepOptions): Promise<Server> {
  const capture = new Capture(options.log, options.step, LAST_LINES);
  const { process, finished, reach, excess } = await host(
    options,
    capture.lastLines,
    capturing(capture),
    options.signal,
  );
  const ended = finished.then(
    (exit) =>
      excess() ?? new StepFailure(`The ${options.step} command ${describeExit(exit)}`, capture.lastLines),
  );
  ended.catch(() => undefined);
  return {
    exited: process.exited,
    ended,
    quarry: process.quarry,
    lastLines: capture.lastLines,
    reach,
    stop: async () => {
      await process.stop();
      return finished;
    },
  };
}

interface Hosted {
  process: HostedProcess;
  /** When its port is free again, too. */
  finished: HostedProcess["finished"];
  reach: Publication["reach"];
  /** Why it was ended, if it took more than its share. */
  excess: () => ShareExceeded | null;
}

/** Starts a command whose input and output are the caller's. */
export async function startPiped(options: StepOptions, output: OutputSink): Promise<HostedProcess> {
  return (await host(options, [], output, options.signal, true)).process;
}

/** Runs a command to its end and answers what it wrote, the first `outputLimit` characters of it. Throws only the abort. */
export async function runCollected(
  options: StepOptions & { limitMs: number; outputLimit: number },
): Promise<{ exit: Exit; stdout: string; stderr: string }> {
  const said = { stdout: "", stderr: "" };
  const collect: OutputSink = async (stream, output) => {
    const decoder = new StringDecoder("utf8");
    for await (const chunk of output) {
      if (said[stream].length < options.outputLimit) said[stream] += decoder.write(chunk as Buffer);
    }
  };
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(options.limitMs)]);
  const { process } = await host(options, [], collect, signal);
  const exit = await process.finished;
  signal.throwIfAborted();
  return { exit, ...said };
}

function capturing(capture: Capture): OutputSink {
  return (stream, output) => capture.read(stream, output);
}

async function host(
  options: StepOptions,
  lastLines: readonly string[],
  output: OutputSink,
  signal: AbortSignal,
  input = false,
): Promise<Hosted> {
  const { command, owner, journal, work, home, temporary, graceMs, confinement, user } = options;
  const { shares, directory, log, step } = options;
  await mkdir(home, { recursive: true, mode: 0o700 });
  await mkdir(temporary, { recursive: true, mode: 0o700 });
  await confinement.give(work, user, "guest");
  await confinement.give(temporary, user, "guest");
  await confinement.give(home, user, options.isHomeShared ? "app" : "guest");
  const userProcesses = await shares.userProcesses();
  const publication = options.port === null ? null : await confinement.publish(options.port);
  const process = await HostedProcess.start({
    command,
    owner,
    // A sandbox's end is that of all in it.
    uid: confinement.status.level === "user" ? (user?.uid ?? null) : null,
    journal,
    groups: shares.groups,
    directory,
    userProcesses,
    cwd: work,
    env: cleanEnvironment({
      home,
      temporary,
      binaries: [join(work, "node_modules", ".bin"), ...options.binaries],
      inherit: options.inherit,
      given: options.given,
    }),
    confine: confinement.confine({
      writable: [work, home, temporary],
      temporary,
      readable: options.readable,
      port: options.port,
      usesGateway: options.usesGateway ?? false,
      usesPackages: options.usesPackages ?? false,
      user,
    }),
    niceness: options.port === null ? NICENESS.step : NICENESS.server,
    output,
    input,
    graceMs,
    signal,
  }).catch(async (error: unknown) => {
    await publication?.close();
    throw error;
  });
  const finished = thenHide(process.finished, publication);
  let excess: ShareExceeded | null = null;
  const say = (text: string): void => void log.append([systemLine(text, step)]);
  const leave = shares.add({
    key: owner,
    directories: [directory, home],
    quarry: process.quarry,
    say,
    exceeded: (reason) => {
      excess = new ShareExceeded(reason, lastLines);
      say(reason);
      process.kill().catch(() => undefined); // `finished` rejects with the same reason
    },
  });
  finished.then(leave, leave);
  const reach: Publication["reach"] = async (port) => publication?.reach(port);
  return { process, finished, reach, excess: () => excess };
}

async function thenHide<T>(finished: Promise<T>, publication: Publication | null): Promise<T> {
  try {
    return await finished;
  } finally {
    await publication?.close();
  }
}

function describeExit({ code, signal }: Exit): string {
  return signal === null ? `exited with code ${code}` : `was ended by ${signal}`;
}
