import type { BuildEvent, BuildState } from "../../../functions/protocol/builds.ts";
import type { CommandContext } from "../context.ts";
import type { Style } from "../output.ts";
import { BuildQuestions } from "./build-questions.ts";
import { followStream } from "./follow.ts";

/** Lines of a tool's output that are shown. */
const OUTPUT_LINES = 6;

/** Prints a build as it goes on; answers how it ended. */
export async function followBuild(context: CommandContext, id: string): Promise<BuildState> {
  const control = await context.control();
  const { output, signal } = context;
  const open = (last: string | null) => control.buildEvents(id, last, signal);
  const lost = (why: string): void =>
    output.remark(`The connection is lost (${why}). The build goes on; trying again.`);
  let state: BuildState = "queued";
  const questions = new BuildQuestions(context, id);
  for await (const { data } of followStream(open, { signal, lost })) {
    const event = JSON.parse(data) as BuildEvent;
    if (event.type === "state") state = event.state;
    await questions.quiet;
    if (event.type === "question" && context.canAsk) await questions.ask(event);
    else output.event(event, () => lineOf(event, id, output.style));
  }
  return state;
}

/** Null: nothing that a person needs to see. */
function lineOf(event: BuildEvent, id: string, style: Style): string | null {
  switch (event.type) {
    case "state":
      return stateLine(event, style);
    case "step":
      if (event.status === "begun") return null;
      return `${event.status === "done" ? style.green("✓") : style.red("✗")} ${event.step}${seconds(event.ms)}${
        event.detail === undefined ? "" : style.dim(`  ${event.detail}`)
      }`;
    case "message":
      return event.from === "user" ? null : event.text;
    case "tool":
      return event.title === undefined ? null : style.dim(`· ${event.title}${toolEnd(event)}`);
    case "question":
      return [
        style.yellow(`? ${event.title}`),
        ...event.options.map((option) => `    ${option.id}  ${option.name}`),
        `  signalbox answer ${id} ${event.request} ${event.options.length === 0 ? "TEXT" : "OPTION"}`,
      ].join("\n");
    case "terminal":
      if (event.status === "running") return style.dim(`$ ${event.command}`);
      return event.exitCode === 0 ? null : style.dim(`  ended (${event.signal ?? `code ${event.exitCode}`})`);
    case "changes":
      return style.dim(
        `· ${event.count} ${event.count === 1 ? "file" : "files"} changed: signalbox diff ${id}`,
      );
    case "log":
      return event.text
        .split("\n")
        .slice(-OUTPUT_LINES)
        .map((line) => style.dim(`    ${line}`))
        .join("\n");
    case "repair":
      return style.yellow(
        `· the agent mends the ${event.step} (${event.attempt} of ${event.limit}): ${event.error}`,
      );
    case "preview":
      return style.dim(`· ${event.framework} answers on port ${event.port} of the runner`);
    default:
      return null;
  }
}

function stateLine({ state, reason }: BuildEvent & { type: "state" }, style: Style): string | null {
  if (state === "queued" || state === "running") return null;
  const said = reason === undefined ? "" : `: ${reason}`;
  if (state === "completed") return style.green("✓ completed");
  return state === "waiting" ? null : style.red(`✗ ${state}${said}`);
}

function toolEnd({ status }: BuildEvent & { type: "tool" }): string {
  return status === undefined || status === "completed" ? "" : ` (${status})`;
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? "" : ` ${(ms / 1_000).toFixed(1)} s`;
}
