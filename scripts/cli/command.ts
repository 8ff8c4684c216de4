import type { CommandContext } from "./context.ts";

/** One flag. Its name is its key in the command's `flags`. */
export interface Flag {
  type: "boolean" | "string";
  summary: string;
  short?: string;
  /** What stands for the value in the help: `--name NAME`. */
  value?: string;
  /** The only values that are taken. */
  choices?: readonly string[];
  /** May be given more than once. */
  multiple?: true;
  /** An older spelling, or pulse-railway's; it works and says the new one. */
  formerly?: string;
}
export type Flags = Record<string, Flag>;

type ValueOf<F extends Flag> = F extends { multiple: true }
  ? string[]
  : F extends { type: "boolean" }
    ? boolean
    : string | undefined;
export type FlagValues<F extends Flags> = { [Name in keyof F]: ValueOf<F[Name]> };

export interface Argument {
  name: string;
  summary: string;
  optional?: true;
  /** The only values that are taken. */
  choices?: readonly string[];
  /** A flag that says the same: an older spelling, or pulse-railway's; it works and says the new one. */
  formerly?: string;
}

export interface Definition<F extends Flags> {
  /** One word, or more: `runners drain`. */
  name: string;
  /** One line, for the overview. */
  summary: string;
  /** The new spelling, where this is an old one: it works, says the new one, and isn't listed. */
  nowSpelled?: string;
  /** What else there is to say, below the flags. */
  notes?: string;
  arguments?: readonly Argument[];
  flags: F;
  run(context: CommandContext, input: Input<F>): Promise<void>;
}

export interface Input<F extends Flags> {
  flags: FlagValues<F>;
  /** As many as the command declares; those that were left out are undefined. */
  arguments: (string | undefined)[];
}

/** A command as the table knows it. */
export type Command = Omit<Definition<Flags>, "run"> & {
  run(
    context: CommandContext,
    input: { flags: Record<string, unknown>; arguments: (string | undefined)[] },
  ): Promise<void>;
};

/** Declares a command; its flags' values get their types from its flags. */
export function command<const F extends Flags>(definition: Definition<F>): Command {
  return {
    ...definition,
    // The parser has made the values by these very flags.
    run: (context, input) => definition.run(context, input as Input<F>),
  };
}

/** The commands of more words that begin with these, without old spellings. */
export function commandsBelow(word: string, commands: readonly Command[]): Command[] {
  return commands.filter(({ name, nowSpelled }) => nowSpelled === undefined && name.startsWith(`${word} `));
}

/** Every command takes these. */
export const everywhere = {
  json: { type: "boolean", summary: "one JSON document on standard output, for programs" },
  "no-color": { type: "boolean", summary: "no colours; so does NO_COLOR" },
  config: { type: "string", value: "FILE", summary: "the configuration file (signalbox.json, found upward)" },
  help: { type: "boolean", short: "h", summary: "this help" },
} satisfies Flags;

/** Commands that speak to Signalbox. */
export const connection = {
  server: { type: "string", value: "URL", summary: "address of Signalbox" },
  "control-token": {
    type: "string",
    value: "TOKEN",
    summary: "the control token; better in SIGNALBOX_TOKEN",
  },
} satisfies Flags;

/** Commands about one app. */
export const ofApp = {
  ...connection,
  app: {
    type: "string",
    value: "APP",
    summary: "the app; without it, the one of signalbox.json or the only one",
  },
} satisfies Flags;

/** Commands that take something away. */
export const confirmed = {
  yes: { type: "boolean", short: "y", summary: "don't ask for confirmation" },
} satisfies Flags;
