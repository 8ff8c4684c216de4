/**
 * Patterns as git matches them: on bytes, here the characters of a binary string, and a path by itself, since whoever
 * walks a tree has decided about what is above it. The package `ignore` decides on whole paths, so that a directory that
 * a nearer file takes back loses what is in it.
 */

export interface Pattern {
  text: string;
  negative: boolean;
  /** Ends with a slash: directories only. */
  directoryOnly: boolean;
  /** Without a slash in it: the name alone counts, wherever it is. */
  nameOnly: boolean;
}

/** The bytes of a file name or pattern. */
export function binary(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** The lines of a `.gitignore`, as a binary string. */
export function parsePatterns(content: string): Pattern[] {
  return content
    .replace(/^\u00ef\u00bb\u00bf/, "")
    .split("\n")
    .map((line) => line.replace(/\r$/, ""))
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => parsePattern(withoutTrailingSpaces(line)))
    .filter(({ text }) => text !== "");
}

/** What the last pattern that matches says; null: none does. */
export function decide(patterns: readonly Pattern[], path: string, isDirectory: boolean): boolean | null {
  const name = path.slice(path.lastIndexOf("/") + 1);
  for (const pattern of patterns.toReversed()) {
    if (pattern.directoryOnly && !isDirectory) continue;
    if (pattern.nameOnly ? matchesName(pattern.text, name) : matchesPath(pattern.text, path)) {
      return !pattern.negative;
    }
  }
  return null;
}

function parsePattern(line: string): Pattern {
  const negative = line.startsWith("!");
  const rest = negative ? line.slice(1) : line;
  const directoryOnly = rest.endsWith("/");
  const text = directoryOnly ? rest.slice(0, -1) : rest;
  return { text, negative, directoryOnly, nameOnly: !text.includes("/") };
}

function withoutTrailingSpaces(line: string): string {
  let end = line.length;
  let spaces = -1;
  for (let at = 0; at < line.length; at++) {
    if (line[at] === " ") {
      if (spaces === -1) spaces = at;
      continue;
    }
    if (line[at] === "\\") {
      at += 1;
      if (at === line.length) return line;
    }
    spaces = -1;
  }
  if (spaces !== -1) end = spaces;
  return line.slice(0, end);
}

/** How much of a pattern is plain text. Git compares that by itself, which counts for what stands before `**`. */
function plainLength(text: string): number {
  const special = text.search(/[*?[\\]/);
  return special === -1 ? text.length : special;
}

function matchesName(text: string, name: string): boolean {
  if (plainLength(text) === text.length) return text === name;
  if (text.startsWith("*") && plainLength(text.slice(1)) === text.length - 1)
    return name.endsWith(text.slice(1));
  return wildMatch(text, name, false);
}

function matchesPath(given: string, path: string): boolean {
  const text = given.startsWith("/") ? given.slice(1) : given;
  const plain = plainLength(text);
  if (!path.startsWith(text.slice(0, plain))) return false;
  if (plain === text.length) return path.length === plain;
  return wildMatch(text.slice(plain), path.slice(plain), true);
}

function wildMatch(pattern: string, text: string, isPath: boolean): boolean {
  return match(pattern, text, isPath) === MATCH;
}

const MATCH = 0;
const NO_MATCH = 1;
/** Nothing that a star before could take would help. */
const ABORT = 2;
const ABORT_TO_STARSTAR = 3;

/** Git's `dowild` (wildmatch.c), whose every corner somebody's file rests on. */
function match(pattern: string, text: string, isPath: boolean): number {
  let t = 0;
  for (let p = 0; p < pattern.length; p++, t++) {
    let character = pattern.charAt(p);
    if (t >= text.length && character !== "*") return ABORT;
    switch (character) {
      case "?":
        if (isPath && text[t] === "/") return NO_MATCH;
        break;
      case "*": {
        const before = p - 1;
        let crossesSlashes = !isPath;
        p += 1;
        if (pattern[p] === "*") {
          while (pattern[p] === "*") p += 1;
          const next = pattern.slice(p, p + 2);
          const alone =
            (before < 0 || pattern[before] === "/") &&
            (next === "" || next.startsWith("/") || next === "\\/");
          if (isPath && alone) {
            if (next.startsWith("/") && match(pattern.slice(p + 1), text.slice(t), isPath) === MATCH)
              return MATCH;
            crossesSlashes = true;
          }
        }
        if (p === pattern.length) return crossesSlashes || !text.includes("/", t) ? MATCH : ABORT_TO_STARSTAR;
        if (!crossesSlashes && pattern[p] === "/") {
          const slash = text.indexOf("/", t);
          if (slash === -1) return NO_MATCH;
          t = slash;
          break;
        }
        for (; t < text.length; t++) {
          const rest = match(pattern.slice(p), text.slice(t), isPath);
          if (rest !== NO_MATCH) {
            if (!crossesSlashes || rest !== ABORT_TO_STARSTAR) return rest;
          } else if (!crossesSlashes && text[t] === "/") {
            return ABORT_TO_STARSTAR;
          }
        }
        return ABORT;
      }
      case "[": {
        const set = matchSet(pattern, p, text.charAt(t));
        if (set === null) return ABORT;
        if (!set.matches || (isPath && text[t] === "/")) return NO_MATCH;
        p = set.end;
        break;
      }
      default:
        if (character === "\\") character = pattern.charAt(++p);
        if (text[t] !== character) return NO_MATCH;
    }
  }
  return t < text.length ? NO_MATCH : MATCH;
}

/** A bracket expression that begins at `start`; null: it is malformed, and matches nothing. */
function matchSet(
  pattern: string,
  start: number,
  character: string,
): { matches: boolean; end: number } | null {
  let p = start + 1;
  const negated = pattern[p] === "!" || pattern[p] === "^";
  if (negated) p += 1;
  let matched = false;
  let previous = "";
  for (let first = true; first || pattern[p] !== "]"; first = false, p++) {
    let current = pattern.charAt(p);
    if (current === "") return null;
    if (current === "\\") {
      current = pattern.charAt(++p);
      if (current === "") return null;
      matched ||= character === current;
    } else if (current === "-" && previous !== "" && p + 1 < pattern.length && pattern[p + 1] !== "]") {
      current = pattern.charAt(++p);
      if (current === "\\") current = pattern.charAt(++p);
      if (current === "") return null;
      matched ||= character >= previous && character <= current;
      current = "";
    } else if (current === "[" && pattern[p + 1] === ":") {
      const end = pattern.indexOf("]", p + 2);
      if (end === -1) return null;
      if (end - p - 3 >= 0 && pattern[end - 1] === ":") {
        const named = CLASSES[pattern.slice(p + 2, end - 1)];
        if (named === undefined) return null;
        matched ||= named.test(character);
        p = end;
        current = "";
      } else {
        matched ||= character === "[";
      }
    } else {
      matched ||= character === current;
    }
    previous = current;
  }
  return { matches: matched !== negated, end: p };
}

const CLASSES: Partial<Record<string, RegExp>> = {
  alnum: /^[a-z0-9]$/i,
  alpha: /^[a-z]$/i,
  blank: /^[ \t]$/,
  // oxlint-disable-next-line no-control-regex
  cntrl: /^[\u0000-\u001f\u007f]$/,
  digit: /^\d$/,
  graph: /^[!-~]$/,
  lower: /^[a-z]$/,
  print: /^[ -~]$/,
  punct: /^[!-/:-@[-`{-~]$/,
  space: /^[ \t\n\r]$/,
  upper: /^[A-Z]$/,
  xdigit: /^[0-9a-f]$/i,
};
