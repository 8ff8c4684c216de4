import { everywhere, type Command, type Flags } from "./command.ts";

/** All commands, a line each. */
export function overview(commands: readonly Command[]): string {
  const lines = columns(
    commands.filter(({ nowSpelled }) => nowSpelled === undefined).map(({ name, summary }) => [name, summary]),
  );
  return `signalbox: several versions of an app at a time, and nobody's session is cut by a deploy

Usage: signalbox COMMAND [ARGUMENTS] [FLAGS]

${lines}

signalbox COMMAND --help says more about one of them.
`;
}

/** One command in full. */
export function commandHelp(command: Command): string {
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
  return `${parts.join("\n\n")}\n`;
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
