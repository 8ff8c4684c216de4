import { namesOfArgument, namesOfFlag } from "./complete-names.ts";
import { everywhere, type Argument, type Command, type Flag } from "./command.ts";

/** What a shell is told of one beginning of a command line. */
interface Level {
  /** The words so far: ``, `runners`, `runners drain`. */
  path: string;
  /** Words that can follow: commands, or the only values of an argument. */
  words: { word: string; summary: string }[];
  takesDirectory: boolean;
  /** Names that the server knows can follow. */
  takesNames: boolean;
  flags: { name: string; flag: Flag }[];
}

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/**
 * A shell's completion script, from the table of commands. In all three: after a flag that takes a value come its values,
 * where they are known, and files where it names one; else commands and directories where there can be any; and flags
 * once a hyphen is typed, in bash and zsh also where nothing else can follow. Names of the server's are asked for with
 * `signalbox __complete` and the words so far.
 */
export function completionScript(shell: Shell, commands: readonly Command[]): string {
  const all = levels(commands);
  switch (shell) {
    case "bash":
      return bash(all);
    case "zsh":
      return zsh(all);
    case "fish":
      return fish(all);
  }
}

function levels(commands: readonly Command[]): Level[] {
  const all = new Map<string, Level>();
  const at = (path: string): Level => {
    const level = all.get(path) ?? { path, words: [], takesDirectory: false, takesNames: false, flags: [] };
    all.set(path, level);
    return level;
  };
  const add = (path: string, word: string, summary: string): void => {
    const { words } = at(path);
    if (!words.some((known) => known.word === word)) words.push({ word, summary });
  };
  for (const { name, summary, flags, nowSpelled, arguments: taken = [] } of commands) {
    if (nowSpelled !== undefined) continue;
    const words = name.split(" ");
    for (const [index, word] of words.entries()) {
      add(words.slice(0, index).join(" "), word, index === words.length - 1 ? summary : `${word} …`);
    }
    const level = at(name);
    for (const argument of taken) {
      for (const choice of argument.choices ?? []) add(name, choice, argument.summary);
      if (isDirectory(argument)) level.takesDirectory = true;
      if (namesOfArgument(argument, name) !== null) level.takesNames = true;
    }
    for (const [flag, spec] of Object.entries<Flag>({ ...flags, ...everywhere })) {
      level.flags.push({ name: `--${flag}`, flag: spec });
    }
  }
  return [...all.values()];
}

function isDirectory({ name }: Argument): boolean {
  return name === "DIRECTORY";
}

function namesFile({ value }: Flag): boolean {
  return value === "FILE" || value === "DIRECTORY";
}

/** Patterns of a level's path and a flag that takes a value, and what is done about that. */
function valueCases(
  all: Level[],
  does: { choices: (words: readonly string[]) => string; file: string; names: string; other: string },
): string {
  return all
    .flatMap(({ path, flags }) =>
      flags
        .filter(({ flag }) => flag.type === "string")
        .map(({ name, flag }) => {
          const isNamed = namesOfFlag(name.slice(2), flag) !== null;
          const action = flag.choices
            ? does.choices(flag.choices)
            : namesFile(flag)
              ? does.file
              : isNamed
                ? does.names
                : does.other;
          return `    '${path} ${name}') ${action} ;;`;
        }),
    )
    .join("\n");
}

function bash(all: Level[]): string {
  const words = all.map((level) => {
    const flags = level.flags.map(({ name }) => name).join(" ");
    const next = level.words.map(({ word }) => word).join(" ");
    return `    '${level.path}') words='${next}' flags='${flags}'${level.takesDirectory ? " directories=1" : ""}${level.takesNames ? " names=1" : ""} ;;`;
  });
  return `# signalbox completion for bash: source <(signalbox completion bash)
_signalbox() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD - 1]}"
  local path="" word words="" flags="" directories="" names="" index
  for ((index = 1; index < COMP_CWORD && index < 4; index++)); do
    word="\${COMP_WORDS[index]}"
    case "$word" in -*) break ;; esac
    case "\${path:+$path }$word" in
${pathCases(all, "path")}
    esac
  done
  COMPREPLY=()
  case "$path $before" in
${valueCases(all, {
  choices: (choices) => `COMPREPLY=($(compgen -W '${choices.join(" ")}' -- "$current")); return`,
  names:
    'COMPREPLY=($(compgen -W "$(signalbox __complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "$current")); return',
  file: 'COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null; return',
  other: "return",
})}
  esac
  case "$path" in
${words.join("\n")}
  esac
  case "$current" in
    -*) words="$flags" ;;
    *)
      if [ -n "$names" ]; then words="$words $(signalbox __complete "\${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)"; fi
      if [ -z "\${words// /}$directories" ]; then words="$flags"; fi
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ -n "$directories" ]; then
    COMPREPLY+=($(compgen -d -- "$current"))
    # Unknown to the bash of macOS, which then leaves out the slash.
    compopt -o filenames 2>/dev/null
  fi
}
complete -F _signalbox signalbox
`;
}

function zsh(all: Level[]): string {
  const described = (word: string, summary: string): string =>
    quoted(`${word}:${summary.replaceAll(":", "\\:")}`);
  const cases = all.map(({ path, words, flags, takesDirectory, takesNames }) => {
    const next = words.map(({ word, summary }) => described(word, summary)).join(" ");
    const known = flags.map(({ name, flag }) => described(name, flag.summary)).join(" ");
    return `    '${path}') choices=(${next}) flags=(${known})${takesDirectory ? " directories=1" : ""}${takesNames ? " names=1" : ""} ;;`;
  });
  return `#compdef signalbox
# signalbox completion for zsh: source <(signalbox completion zsh), after compinit; or as _signalbox in a directory of fpath
_signalbox() {
  local path_so_far="" word directories="" names=""
  local -a known
  local -a choices flags
  for word in "\${(@)words[2,CURRENT-1]}"; do
    [[ "$word" == -* ]] && break
    case "\${path_so_far:+$path_so_far }$word" in
${pathCases(all, "path_so_far")}
      *) break ;;
    esac
  done
  case "$path_so_far $words[CURRENT-1]" in
${valueCases(all, {
  choices: (choices) => `compadd -- ${choices.join(" ")}; return`,
  names:
    'known=(${(f)"$(signalbox __complete ${(@)words[2,CURRENT-1]} 2>/dev/null)"}); compadd -a known; return',
  file: "_files; return",
  other: "_message value; return",
})}
  esac
  case "$path_so_far" in
${cases.join("\n")}
  esac
  if [[ -n "$names" && "$words[CURRENT]" != -* ]]; then
    known=(\${(f)"$(signalbox __complete \${(@)words[2,CURRENT-1]} 2>/dev/null)"})
    if (( $#known )); then
      compadd -a known
      return
    fi
  fi
  if [[ "$words[CURRENT]" == -* || ( $#choices -eq 0 && -z "$directories" ) ]]; then
    _describe 'flag' flags
  else
    (( $#choices )) && _describe 'signalbox' choices
    [[ -n "$directories" ]] && _files -/
  fi
}
if [[ "$funcstack[1]" == _signalbox ]]; then
  _signalbox "$@"
else
  compdef _signalbox signalbox
fi
`;
}

function pathCases(all: Level[], variable: string): string {
  return all
    .filter(({ path }) => path !== "")
    .map(({ path }) => `      '${path}') ${variable}='${path}' ;;`)
    .join("\n");
}

function fish(all: Level[]): string {
  const paths = all.filter(({ path }) => path !== "").map(({ path }) => quoted(path));
  const lines = [
    `# signalbox completion for fish: signalbox completion fish | source
function __signalbox_at
  set -l words (commandline -opc)
  set -e words[1]
  set -l path
  for word in $words
    string match -q -- '-*' $word; and break
    set -l longer (string join ' ' -- $path $word)
    contains -- $longer ${paths.join(" ")}; or break
    set path $longer
  end
  test "$path" = "$argv"
end
function __signalbox_names
  set -l words (commandline -opc)
  signalbox __complete $words[2..-1] 2>/dev/null
end
complete -c signalbox -e
complete -c signalbox -f`,
  ];
  for (const { path, words, flags, takesDirectory, takesNames } of all) {
    const here = `complete -c signalbox -n ${quoted(`__signalbox_at ${path}`.trimEnd())}`;
    for (const { word, summary } of words) lines.push(`${here} -a ${word} -d ${quoted(summary)}`);
    if (takesNames) lines.push(`${here} -a '(__signalbox_names)'`);
    if (takesDirectory) lines.push(`${here} -a '(__fish_complete_directories)'`);
    for (const { name, flag } of flags) {
      const short = flag.short === undefined ? "" : ` -s ${flag.short}`;
      const value = flag.choices
        ? ` -x -a ${quoted(flag.choices.join(" "))}`
        : namesFile(flag)
          ? " -r -F"
          : namesOfFlag(name.slice(2), flag) !== null
            ? " -x -a '(__signalbox_names)'"
            : " -x";
      lines.push(
        `${here} -l ${name.slice(2)}${short}${flag.type === "string" ? value : ""} -d ${quoted(flag.summary)}`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

/** For all three shells: nothing inside single quotes has a meaning. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "’")}'`;
}
