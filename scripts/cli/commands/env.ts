import { age } from "../ages.ts";
import { command, connection } from "../command.ts";
import { Failure } from "../failure.ts";
import type { EnvView } from "../../client/control-types.ts";
import type { Output } from "../output.ts";

const project = { name: "PROJECT", summary: "the project's slug" } as const;
const receivers = ["dev", "agent", "both", "git"] as const;

export const listEnv = command({
  name: "projects env list",
  summary: "lists a project's environment variables; their values are never told",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    show(context.output, slug, await (await context.control()).env(slug));
  },
});

export const setEnv = command({
  name: "projects env set",
  summary: "sets a variable of a project's dev server and agent",
  arguments: [
    project,
    { name: "NAME=VALUE", summary: "the variable; with NAME alone its value is read from standard input" },
  ],
  flags: {
    ...connection,
    secret: { type: "boolean", summary: "mask it wherever output is shown" },
    for: {
      type: "string",
      choices: receivers,
      summary: "who gets it (both); git: what the runner logs in to the project's remote with",
    },
  },
  notes: "What runs already keeps what it was started with.",
  async run(context, { flags, arguments: [slug = "", given = ""] }) {
    const [, name = "", , fromLine] = /^([^=]*)(=([^]*))?$/.exec(given) ?? [];
    // A line's end is the terminal's, not the value's.
    const value = fromLine ?? (await context.readInput()).replace(/\r?\n$/, "");
    if (value === "" && fromLine === undefined)
      throw new Failure(
        "usage",
        "no_value",
        `There is no value for ${name}: ${name}=VALUE, or standard input.`,
      );
    const receiver = receivers.find((one) => one === flags.for) ?? "both";
    const variable = { name, value, secret: flags.secret, for: receiver };
    const env = await (await context.control()).setEnv(slug, { variables: [variable] });
    show(context.output, slug, env);
  },
});

export const unsetEnv = command({
  name: "projects env unset",
  summary: "takes a variable from a project",
  arguments: [project, { name: "NAME", summary: "the variable's name" }],
  flags: connection,
  async run(context, { arguments: [slug = "", name = ""] }) {
    show(context.output, slug, await (await context.control()).unsetEnv(slug, name));
  },
});

function show(output: Output, slug: string, { variables }: EnvView): void {
  output.result({ project: slug, variables }, () =>
    variables.length === 0
      ? "No variables."
      : output.table(
          ["NAME", "FOR", "SECRET", "SET"],
          variables.map(({ name, secret, for: receiver, updatedAt }) => [
            name,
            receiver,
            secret ? "yes" : "no",
            `${age(updatedAt, Date.now())} ago`,
          ]),
        ),
  );
}
