import { isOver } from "../../../functions/protocol/builds.ts";
import { age } from "../ages.ts";
import { command, connection } from "../command.ts";
import type { CommandContext } from "../context.ts";
import { Failure } from "../failure.ts";
import { ofImages, readImages, uploadImages } from "../prompt-images.ts";
import { followBuild } from "../progress/build.ts";

const project = { name: "PROJECT", summary: "the project's slug" } as const;
const buildId = { name: "BUILD", summary: "the build's id" } as const;

export const build = command({
  name: "build",
  summary: "gives a project's agent a prompt, and shows what it does",
  arguments: [project, { name: "PROMPT", summary: "what to do, in quotes" }],
  flags: {
    ...connection,
    agent: { type: "string", value: "AGENT", summary: "another agent than the project's" },
    ...ofImages,
    detach: { type: "boolean", summary: "don't wait for its end" },
  },
  notes:
    "What the agent asks is asked in the terminal. Ctrl-C asks whether to cancel the build;\n" +
    "where there is nobody to ask, it leaves it running: `signalbox cancel BUILD` ends it.",
  async run(context, { flags, arguments: [slug = "", prompt = ""] }) {
    const control = await context.control();
    const { agent } = flags;
    const images = await uploadImages(control, slug, await readImages(flags.image));
    const made = await control.createBuild(slug, {
      prompt,
      ...(agent === undefined ? {} : { agent }),
      ...images,
    });
    context.output.remark(`Build ${made.id}`);
    if (flags.detach) return context.output.result(made, () => made.id);
    await finishBuild(context, made.id);
  },
});

export const builds = command({
  name: "builds",
  summary: "lists a project's builds, the newest last",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    const { runner, detail } = await (await context.control()).project(slug);
    if (runner === null) throw new Failure("unreachable", "runner_offline", detail ?? "The runner is away.");
    const { output } = context;
    output.result({ builds: runner.builds }, () =>
      output.table(
        ["BUILD", "STATE", "FOR", "AGENT", "PROMPT"],
        runner.builds.map(({ id, state, updatedAt, agent, prompt }) => [
          id,
          isOver(state) ? state : output.style.yellow(state),
          age(updatedAt, Date.now()),
          agent,
          prompt.split("\n")[0]?.slice(0, 60) ?? "",
        ]),
      ),
    );
  },
});

export const cancelBuild = command({
  name: "cancel",
  summary: "cancels a build, and says when nothing of it runs any more",
  arguments: [buildId],
  flags: connection,
  async run(context, { arguments: [id = ""] }) {
    const after = await (await context.control()).cancelBuild(id);
    context.output.result(after, () => `Build ${id} is ${after.state}.`);
  },
});

export const answerBuild = command({
  name: "answer",
  summary: "answers a question that a build waits for",
  arguments: [
    buildId,
    { name: "QUESTION", summary: "its id" },
    { name: "OPTION", summary: "the option's id, or the text; without one, none of them", optional: true },
  ],
  flags: connection,
  async run(context, { arguments: [id = "", question = "", option] }) {
    const after = await (await context.control()).answerBuild(id, question, option ?? null);
    context.output.result(after, () => `Build ${id} goes on.`);
  },
});

/** Follows a build to its end. Throws where it didn't end well. */
export async function finishBuild(context: CommandContext, id: string): Promise<void> {
  const state = await followBuild(context, id);
  if (state === "completed") return;
  throw new Failure("failed", `build_${state}`, `Build ${id} is ${state}.`);
}
