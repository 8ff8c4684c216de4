import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import { commandsBelow, everywhere, type Command, type Flag, type Flags } from "./command.ts";
import { Failure } from "./failure.ts";

export interface Invocation {
  /** Null: none was named. */
  command: Command | null;
  /** The first word of several commands, whose help is asked for: `canary --help`. */
  group: string | null;
  flags: Record<string, unknown>;
  arguments: (string | undefined)[];
  /** Old spellings that were used, each with the new one. */
  oldSpellings: string[];
}

/** Reads a command line. Throws {@link Failure} `usage` for whatever isn't exactly what a command takes. */
export function parseInvocation(argv: readonly string[], commands: readonly Command[]): Invocation {
  const { words, rest } = splitCommand(argv, commands);
  const command = commands.find(({ name }) => name === words.join(" ")) ?? null;
  if (command === null) {
    const named = rest.filter((word) => !word.startsWith("-"));
    const group = named.join(" ");
    const wantsHelp = rest.includes("--help") || rest.includes("-h");
    if (wantsHelp && commandsBelow(group, commands).length > 0)
      return { command, group, flags: {}, arguments: [], oldSpellings: [] };
    if (words.length > 0 || named.length > 0)
      throw unknownCommand([...words, ...named].slice(0, 2), commands);
    return {
      command,
      group: null,
      flags: parseFlags(rest, everywhere, null).values,
      arguments: [],
      oldSpellings: [],
    };
  }
  const expected = command.arguments ?? [];
  const known = { ...everywhere, ...command.flags, ...formerFlags(command) };
  const { values, positionals } = parseFlags(rest, known, command);
  const oldSpellings =
    command.nowSpelled === undefined
      ? []
      : [`${command.name} is now spelled: signalbox ${command.nowSpelled}`];
  if (values["help"] === true) return { command, group: null, flags: values, arguments: [], oldSpellings };
  const former = (spelling: string | undefined): string | undefined =>
    spelling === undefined ? undefined : (values[spelling] as string | undefined);
  for (const [name, { formerly }] of Object.entries<Flag>(command.flags)) {
    const value = former(formerly);
    if (value === undefined) continue;
    if (values[name] !== undefined && values[name] !== value)
      throw usage(`--${name} and --${formerly} are the same, and say different things.`, command);
    values[name] = value;
    oldSpellings.push(`--${formerly} is now spelled: --${name}`);
  }
  // An argument that a flag gives may be left out before the others.
  const left = expected.filter(({ formerly }) => former(formerly) === undefined);
  const taking = positionals.length > left.length ? expected : left;
  if (positionals.length > taking.length) {
    const extra = positionals[taking.length] ?? "";
    throw usage(`${command.name} doesn't take the argument ${JSON.stringify(extra)}.`, command);
  }
  const given = expected.map((argument) => {
    const { name, formerly } = argument;
    const at = taking.indexOf(argument);
    const positional = at === -1 ? undefined : positionals[at];
    const value = former(formerly);
    if (value === undefined) return positional;
    if (positional !== undefined && positional !== value)
      throw usage(`${name} and --${formerly} are the same, and say different things.`, command);
    oldSpellings.push(`--${formerly} is now spelled: signalbox ${command.name} ${name}`);
    return value;
  });
  const missing = expected.find(({ optional }, index) => optional !== true && given[index] === undefined);
  if (missing) throw usage(`${command.name} needs ${missing.name}: ${missing.summary}.`, command);
  return { command, group: null, flags: values, arguments: given, oldSpellings };
}

function formerFlags(command: Command): Flags {
  const all = [...Object.values<Flag>(command.flags), ...(command.arguments ?? [])];
  return Object.fromEntries(
    all.flatMap(({ formerly, summary, choices }) =>
      formerly === undefined
        ? []
        : [[formerly, { type: "string" as const, summary, ...(choices && { choices }) }]],
    ),
  );
}

/** The words that name the command, wherever flags that every command takes stand. */
function splitCommand(
  argv: readonly string[],
  commands: readonly Command[],
): { words: string[]; rest: string[] } {
  const before: string[] = [];
  let at = 0;
  for (let word = argv[at]; word?.startsWith("-") === true && word !== "--"; word = argv[at]) {
    before.push(word);
    at += 1;
    const flag: Flag | undefined = Object.entries(everywhere).find(([name]) => `--${name}` === word)?.[1];
    const value = argv[at];
    if (flag?.type === "string" && value !== undefined) {
      before.push(value);
      at += 1;
    }
  }
  for (const length of [3, 2, 1]) {
    const words = argv.slice(at, at + length);
    if (words.length === length && commands.some(({ name }) => name === words.join(" "))) {
      return { words, rest: [...before, ...argv.slice(at + length)] };
    }
  }
  return { words: [], rest: [...before, ...argv.slice(at)] };
}

function parseFlags(
  argv: string[],
  flags: Flags,
  command: Command | null,
): { values: Record<string, unknown>; positionals: string[] } {
  const options: ParseArgsOptionsConfig = {};
  for (const [name, { type, short, multiple }] of Object.entries(flags)) {
    options[name] = {
      type,
      ...(short === undefined ? {} : { short }),
      ...(multiple ? { multiple } : {}),
    };
  }
  const { tokens, positionals } = parseArgs({
    args: argv,
    options,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(flags)) {
    values[name] = flag.multiple ? [] : flag.type === "boolean" ? false : undefined;
  }
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const flag = flags[token.name];
    if (!flag) throw usage(`${token.rawName} isn't a flag${closest(token.name, flags)}.`, command);
    if (flag.type === "boolean") {
      if (token.value !== undefined) throw usage(`${token.rawName} takes no value.`, command);
      values[token.name] = true;
      continue;
    }
    const { value } = token;
    // What begins with a hyphen is the next flag, unless it was given with an equals sign.
    if (value === undefined || (!token.inlineValue && value.startsWith("-"))) {
      throw usage(`${token.rawName} needs a value: ${flag.summary}.`, command);
    }
    if (flag.choices && !flag.choices.includes(value)) {
      throw usage(
        `${token.rawName} must be ${flag.choices.join(" or ")}, not ${JSON.stringify(value)}.`,
        command,
      );
    }
    values[token.name] = flag.multiple ? [...(values[token.name] as string[]), value] : value;
  }
  return { values, positionals };
}

function closest(name: string, flags: Flags): string {
  const near = Object.keys(flags).find((known) => known.startsWith(name) || name.startsWith(known));
  return near === undefined ? "" : `; did you mean --${near}?`;
}

function unknownCommand(words: string[], commands: readonly Command[]): Failure {
  const [first = ""] = words;
  const below = commandsBelow(first, commands).map(({ name }) => name);
  if (below.length > 0) {
    const help = `See signalbox ${first} --help.`;
    return new Failure("usage", "unknown_command", `Say which: ${below.join(", ")}. ${help}`);
  }
  return new Failure(
    "usage",
    "unknown_command",
    `There is no command ${JSON.stringify(first)}. signalbox --help lists them.`,
  );
}

function usage(message: string, command: Command | null): Failure {
  const help = command === null ? "signalbox --help" : `signalbox ${command.name} --help`;
  return new Failure("usage", "wrong_usage", `${message} See ${help}.`);
}
