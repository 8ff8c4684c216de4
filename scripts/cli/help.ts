import { commandsBelow, everywhere, type Command, type Flags } from "./command.ts";

/** All commands, a line each. */
export function overview(commands: readonly Command[]): string {
  const lines = listOf(commands.filter(({ nowSpelled }) => nowSpelled === undefined));
  return `signalbox: several versions of an app at a time, and nobody's session is cut by a deploy

Usage: signalbox COMMAND [ARGUMENTS] [FLAGS]

${lines}

signalbox COMMAND --help says more about one of them.
`;
}

/** The commands that begin with one word, a line each. */
export function groupHelp(group: string, commands: readonly Command[]): string {
  return `Usage: signalbox ${group} COMMAND [ARGUMENTS] [FLAGS]

${listOf(commandsBelow(group, commands))}

signalbox ${group} COMMAND --help says more about one of them.
`;
}

/** One command in full, and those that begin with its name. */
export function commandHelp(command: Command, commands: readonly Command[] = []): string {
  const named = (command.arguments ?? []).map(({ name, optional }) => (optional ? `[${name}]` : name));
  const parts = [
    `Usage: ${["signalbox", command.name, ...named, "[FLAGS]"].join(" ")}`,
    sentence(command.summary),
  ];
  if (command.arguments?.length) {
    parts.push(columns(command.arguments.map(({ name, summary }) => [name, summary])));
  }
  parts.push(flagLines({ ...command.flags, ...everywhere }));
  if (command.notes !== undefined) parts.push(command.notes);
  const below = commandsBelow(command.name, commands);
  if (below.length > 0) parts.push(`Also:\n${listOf(below)}`);
  return `${parts.join("\n\n")}\n`;
}

function listOf(commands: readonly Command[]): string {
  return columns(commands.map(({ name, summary }) => [name, summary]));
}

function flagLines(flags: Flags): string {
  return columns(
    Object.entries(flags).map(([name, { short, value, choices, summary }]) => {
      const shown = choices?.join("|") ?? value;
      const long = shown === undefined ? `--${name}` : `--${name} ${shown}`;
      return [short === undefined ? `    ${long}` : `-${short}, ${long}`, summary];
    }),
  );
}

function columns(rows: (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n");
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
