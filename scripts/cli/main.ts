import { setTimeout as sleep } from "node:timers/promises";
import { parseInvocation, type Invocation } from "./arguments.ts";
import { commands } from "./commands/index.ts";
import { Failure, failureOf } from "./failure.ts";
import { commandHelp, groupHelp, overview } from "./help.ts";
import { Output, type Sink } from "./output.ts";
import { CommandContext, type World } from "./context.ts";
import { VERSION } from "./version.ts";

/** Temporary files are deleted in no time; nobody waits longer after Ctrl-C. */
const CLEAN_UP_MS = 1_000;

export interface Streams {
  stdout: Sink;
  stderr: Sink;
}

/** Runs one command line; returns the exit code. */
export async function main(argv: readonly string[], world: World, streams: Streams): Promise<number> {
  // Until the flags are read, the way that errors are to be said has to be guessed from them.
  let output = new Output({
    ...streams,
    env: world.env,
    json: argv.includes("--json"),
    noColor: argv.includes("--no-color"),
  });
  let context: CommandContext | null = null;
  try {
    if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-v")) {
      streams.stdout.write(`signalbox ${VERSION}\n`);
      return 0;
    }
    const invocation: Invocation = parseInvocation(argv, commands);
    const { command, group, flags, arguments: given, oldSpellings } = invocation;
    if (group !== null) {
      streams.stdout.write(groupHelp(group, commands));
      return 0;
    }
    if (command === null) {
      (flags["help"] === true ? streams.stdout : streams.stderr).write(overview(commands));
      return flags["help"] === true ? 0 : 2;
    }
    if (flags["help"] === true) {
      streams.stdout.write(commandHelp(command, commands));
      return 0;
    }
    output = new Output({
      ...streams,
      env: world.env,
      json: flags["json"] === true,
      noColor: flags["no-color"] === true,
    });
    for (const remark of oldSpellings) output.remark(`${remark}.`);
    context = new CommandContext(world, flags, output);
    await runUntilInterrupted(context, command.run(context, { flags, arguments: given }));
    context.end();
    return 0;
  } catch (error) {
    context?.end();
    const failure = failureOf(error);
    if (failure === null) {
      output.failure({
        code: "internal_error",
        message: `This is a mistake in signalbox: ${traceOf(error)}`,
        exitCode: 1,
      });
      return 1;
    }
    const { message, code, exitCode } = failure;
    const hint = code === "server_unreachable" ? await localStackHint(context) : "";
    if (message !== "") output.failure({ code, message: message + hint, exitCode });
    return exitCode;
  }
}

/** A command that is interrupted gets a moment to clean up; what it would still say is of no interest. */
async function runUntilInterrupted(context: CommandContext, work: Promise<void>): Promise<void> {
  const interruption = new Promise<"interrupted">((resolve) => {
    context.signal.addEventListener("abort", () => resolve("interrupted"));
  });
  if ((await Promise.race([work, interruption])) !== "interrupted") return;
  context.end();
  await Promise.race([work.catch(() => undefined), sleep(CLEAN_UP_MS)]);
  throw new Failure("interrupted", "interrupted", context.interruption);
}

/** A saved login outranks the local stack, and nothing falls back to another server by itself. */
async function localStackHint(context: CommandContext | null): Promise<string> {
  const url = await context?.otherLocalStack().catch(() => null);
  return url ? ` A local stack runs here: --server ${url} speaks to it.` : "";
}

function traceOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
