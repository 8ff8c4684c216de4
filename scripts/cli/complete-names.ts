import type { ControlClient } from "../client/control-client.ts";
import type { Argument, Command, Flag } from "./command.ts";
import { CommandContext, type World } from "./context.ts";
import { Output } from "./output.ts";

export const nameKinds = ["apps", "deployments", "runners", "projects", "builds"] as const;
export type NameKind = (typeof nameKinds)[number];

/** A shell's user waits no longer for names. */
const LIMIT_MS = 2_000;
/** Builds are asked of each project's runner. */
const PROJECTS_ASKED = 10;
/** Shells expand what they complete with: nothing else gets there. */
const NAME = /^[A-Za-z0-9][\w.-]*$/;

/** What the server calls an argument of a command; null: it isn't the server's. */
export function namesOfArgument({ name, summary }: Argument, command: string): NameKind | null {
  if (name === "PROJECT") return "projects";
  if (name === "BUILD") return "builds";
  if (name !== "ID") return null;
  return command.startsWith("runners") || summary === "the runner" ? "runners" : "deployments";
}

export function namesOfFlag(flag: string, { value }: Flag): NameKind | null {
  if (flag === "app") return "apps";
  return flag === "runner" && value === "ID" ? "runners" : null;
}

/** The words before the one that is to be completed, and what the server knows for its place. Never says why it knows nothing. */
export async function completeNames(
  words: readonly string[],
  table: readonly Command[],
  world: World,
): Promise<string[]> {
  const place = placeOf(words, table);
  if (place === null) return [];
  const mute = { write: () => true };
  const output = new Output({ stdout: mute, stderr: mute, env: world.env, json: true, noColor: true });
  const context = new CommandContext({ ...world, interactive: false }, place.flags, output);
  const late = new Promise<string[]>((resolve) => setTimeout(resolve, LIMIT_MS, []).unref());
  const names = ask(context, place).catch(() => []); // there is no server, or no login
  return (await Promise.race([names, late])).filter((name) => NAME.test(name));
}

interface Place {
  kind: NameKind;
  /** Of the words so far. */
  flags: Record<string, string>;
  positionals: string[];
}

function placeOf(words: readonly string[], table: readonly Command[]): Place | null {
  const candidates = table
    .filter(({ name }) => name.split(" ").every((word, index) => words[index] === word))
    .toSorted((one, other) => other.name.length - one.name.length);
  const [command] = candidates;
  if (command === undefined) return null;
  const flags: Record<string, string> = {};
  const positionals: string[] = [];
  let open: string | null = null;
  for (const word of words.slice(command.name.split(" ").length)) {
    if (open !== null) {
      flags[open] = word;
      open = null;
    } else if (word.startsWith("--")) {
      const [name = "", value] = word.slice(2).split("=", 2);
      if (value !== undefined) flags[name] = value;
      else if (command.flags[name]?.type === "string" || name === "config") open = name;
    } else if (!word.startsWith("-")) positionals.push(word);
  }
  if (open !== null) {
    const flag = command.flags[open];
    const kind = flag === undefined ? null : namesOfFlag(open, flag);
    return kind === null ? null : { kind, flags, positionals };
  }
  const argument = command.arguments?.[positionals.length];
  const kind = argument === undefined ? null : namesOfArgument(argument, command.name);
  return kind === null ? null : { kind, flags, positionals };
}

async function ask(context: CommandContext, { kind, positionals }: Place): Promise<string[]> {
  const control = await context.control();
  switch (kind) {
    case "apps":
      return (await control.apps()).map(({ name }) => name);
    case "deployments":
      return (await control.app(await context.app())).deployments.map(({ id }) => id);
    case "runners":
      return (await control.runners()).map(({ id }) => id);
    case "projects":
      return (await control.projects()).map(({ slug }) => slug);
    case "builds":
      return buildsOf(control, positionals[0]);
  }
}

/** Of the project that was named, else of the first ones. */
async function buildsOf(control: ControlClient, named: string | undefined): Promise<string[]> {
  const slugs = named === undefined ? (await control.projects()).map(({ slug }) => slug) : [named];
  const projects = await Promise.all(
    slugs.slice(0, PROJECTS_ASKED).map((slug) => control.project(slug).catch(() => null)), // its runner is away
  );
  return projects.flatMap((project) => project?.runner?.builds.map(({ id }) => id) ?? []);
}
