import { everywhere, type Command, type Flag } from "./command.ts";

/** What a shell is told: for each beginning of a command line, the words that can follow. */
interface Level {
  /** The words so far: ``, `runners`, `runners drain`. */
  path: string;
  next: { word: string; summary: string }[];
}

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** A shell's completion script, from the table of commands. */
export function completionScript(shell: Shell, commands: readonly Command[]): string {
  switch (shell) {
    case "bash":
      return bash(levels(commands));
    case "zsh":
      return zsh(levels(commands));
    case "fish":
      return fish(commands);
  }
}

function levels(commands: readonly Command[]): Level[] {
  const paths = new Map<string, Level["next"]>([["", []]]);
  const add = (path: string, word: string, summary: string): void => {
    const next = paths.get(path) ?? [];
    if (!next.some((known) => known.word === word)) next.push({ word, summary });
    paths.set(path, next);
  };
  for (const { name, summary, flags } of commands) {
    const [first = "", second] = name.split(" ");
    add("", first, second === undefined ? summary : `${first} …`);
    if (second !== undefined) add(first, second, summary);
    for (const [flag, { summary: what }] of Object.entries({ ...flags, ...everywhere })) {
      add(name, `--${flag}`, what);
    }
  }
  return [...paths].map(([path, next]) => ({ path, next }));
}

/** The words before the cursor that aren't flags name the command. */
function bash(all: Level[]): string {
  const cases = all.map(
    ({ path, next }) => `    '${path}') words='${next.map(({ word }) => word).join(" ")}' ;;`,
  );
  return `# signalbox completion for bash: source <(signalbox completion bash)
_signalbox() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" word words="" index
  for ((index = 1; index < COMP_CWORD && index < 3; index++)); do
    word="\${COMP_WORDS[index]}"
    case "$word" in -*) break ;; esac
    case "\${path:+$path }$word" in
${all
  .filter(({ path }) => path !== "")
  .map(({ path }) => `      '${path}') path='${path}' ;;`)
  .join("\n")}
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _signalbox signalbox
`;
}

function zsh(all: Level[]): string {
  const cases = all.map(({ path, next }) => {
    const described = next.map(({ word, summary }) => quoted(`${word}:${summary.replaceAll(":", "\\:")}`));
    return `    '${path}') choices=(${described.join(" ")}) ;;`;
  });
  return `#compdef signalbox
# signalbox completion for zsh: source <(signalbox completion zsh), after compinit
_signalbox() {
  local path_so_far="" word
  local -a choices
  for word in "\${(@)words[2,CURRENT-1]}"; do
    [[ "$word" == -* ]] && break
    case "\${path_so_far:+$path_so_far }$word" in
${all
  .filter(({ path }) => path !== "")
  .map(({ path }) => `      '${path}') path_so_far='${path}' ;;`)
  .join("\n")}
    esac
  done
  case "$path_so_far" in
${cases.join("\n")}
  esac
  _describe 'signalbox' choices || _files
}
compdef _signalbox signalbox
`;
}

function fish(commands: readonly Command[]): string {
  const lines = ["# signalbox completion for fish: signalbox completion fish | source"];
  const seen = new Set<string>();
  for (const { name, summary, flags } of commands) {
    const [first = "", second] = name.split(" ");
    if (!seen.has(first)) {
      const what = second === undefined ? summary : `${first} …`;
      lines.push(`complete -c signalbox -n __fish_use_subcommand -a ${first} -d ${quoted(what)}`);
      seen.add(first);
    }
    const here = `__fish_seen_subcommand_from ${first}`;
    if (second !== undefined) {
      lines.push(`complete -c signalbox -n ${quoted(here)} -a ${second} -d ${quoted(summary)}`);
    }
    const within = second === undefined ? here : `${here}; and __fish_seen_subcommand_from ${second}`;
    for (const [flag, spec] of Object.entries<Flag>({ ...flags, ...everywhere })) {
      const short = spec.short === undefined ? "" : ` -s ${spec.short}`;
      const value = spec.choices
        ? ` -x -a ${quoted(spec.choices.join(" "))}`
        : spec.type === "string"
          ? " -r"
          : "";
      lines.push(
        `complete -c signalbox -n ${quoted(within)} -l ${flag}${short}${value} -d ${quoted(spec.summary)}`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

/** For all three shells: nothing inside single quotes has a meaning. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "’")}'`;
}
