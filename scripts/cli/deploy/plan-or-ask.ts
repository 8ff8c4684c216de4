import { isCancel, select, text } from "@clack/prompts";
import { join, resolve } from "node:path";
import type { LoadedConfig } from "../config-file.ts";
import type { CommandContext } from "../context.ts";
import { Failure } from "../failure.ts";
import { planDeployment, type DeployFlags, type Plan } from "./plan.ts";
import { lookAt } from "./project.ts";

/** The plan; what can't be concluded is asked where there is somebody to ask, else it is the plan's failure. */
export async function planOrAsk(
  context: CommandContext,
  flags: Partial<DeployFlags>,
  loaded: LoadedConfig,
  named: string | null,
): Promise<Plan> {
  try {
    return planDeployment(flags, loaded, named);
  } catch (error) {
    if (!(error instanceof Failure) || !context.interactive || context.output.json) throw error;
    const directory = named ?? loaded.directory;
    if (error.code === "which_member") {
      const { members } = lookAt(directory).detected;
      const options = members.map((value) => ({ value, label: value }));
      const member = await answer(context, select({ message: "Which member of the workspace?", options }));
      return planOrAsk(context, flags, loaded, join(resolve(directory), member));
    }
    if (error.code !== "no_start") throw error;
    context.output.remark(error.message);
    const kind = await answer(
      context,
      select({
        message: "What is it?",
        options: [
          { value: "start", label: "a server, which a command starts" },
          { value: "static", label: "files to serve" },
        ],
      }),
    );
    const message =
      kind === "start" ? "The command that starts it (it listens on PORT):" : "The directory of the files:";
    const value = await answer(
      context,
      text({ message, validate: (given) => (given?.trim() ? undefined : "Something is needed.") }),
    );
    return planDeployment({ ...flags, [kind]: value.trim() }, loaded, named);
  }
}

async function answer(context: CommandContext, asked: Promise<unknown>): Promise<string> {
  const given = await asked;
  if (isCancel(given)) throw new Failure("interrupted", "interrupted", context.interruption);
  return String(given);
}
