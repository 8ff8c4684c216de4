/** One word for `/bin/sh`. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The same command in another directory; a failure to go there is its failure. */
export function inDirectory(directory: string, command: string): string {
  // `cd a && b || c` would run c where there is no a.
  return /[|;&\n]/.test(command)
    ? `cd ${quoted(directory)} || exit; ${command}`
    : `cd ${quoted(directory)} && ${command}`;
}
