import { lstatSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { directoriesUpward } from "../trust.ts";
import { binary, decide, parsePatterns, type Pattern } from "./gitignore.ts";

/** Never part of a source, whatever a file says: history, what is installed anew, and the local stack's secrets. */
const ALWAYS = new Set([".git", "node_modules", ".signalbox"]);
/** The second one counts more where both speak of a path. */
const RULE_FILES = [".gitignore", ".signalboxignore"];

/** The rules of one directory, which speak of paths below it. */
interface Level {
  /** How much of a path, which begins at the first level's directory, is above this one. */
  prefix: number;
  patterns: Pattern[];
}

/**
 * Which entries of a directory belong to its source, for a walk that goes down from it. Rules of directories above count
 * up to the repository's root.
 */
export class IgnoreRules {
  readonly #levels: Level[];
  /** This directory's path, as bytes: empty, or with a slash at its end. */
  readonly #path: string;
  /** A directory above is ignored, and with it all that is in it. */
  readonly #allIgnored: boolean;

  private constructor(levels: Level[], path: string, allIgnored: boolean) {
    this.#levels = levels;
    this.#path = path;
    this.#allIgnored = allIgnored;
  }

  /** `alone`: what is above the directory has no say, since it was made for packing. */
  static of(directory: string, alone: boolean): IgnoreRules {
    const root = (alone ? null : directoriesUpward(directory).at(-1)) ?? directory;
    let rules = new IgnoreRules(levelOf(root, 0), "", false);
    let at = root;
    for (const name of relative(root, directory)
      .split(sep)
      .filter((part) => part !== "")) {
      at = join(at, name);
      rules = rules.below(at, binary(name));
    }
    return rules;
  }

  /** The rules of a directory in this one; `name` is its own, as bytes. */
  below(directory: string, name: string): IgnoreRules {
    const path = `${this.#path}${name}/`;
    const levels = [...this.#levels, ...levelOf(directory, path.length)];
    return new IgnoreRules(levels, path, this.#allIgnored || this.excludes(name, true));
  }

  /** An entry of this directory. As git does it: the closest file that speaks of it decides. */
  excludes(name: string, isDirectory: boolean): boolean {
    if (this.#allIgnored || ALWAYS.has(name)) return true;
    for (const { prefix, patterns } of this.#levels.toReversed()) {
      const decided = decide(patterns, `${this.#path}${name}`.slice(prefix), isDirectory);
      if (decided !== null) return decided;
    }
    return false;
  }
}

/** Like git, through no symbolic link: that could lead to anybody's file. */
function levelOf(directory: string, prefix: number): Level[] {
  const patterns = RULE_FILES.map((name) => join(directory, name))
    .filter((file) => lstatSync(file, { throwIfNoEntry: false })?.isFile() === true)
    .flatMap((file) => parsePatterns(readFileSync(file, "latin1")));
  return patterns.length === 0 ? [] : [{ prefix, patterns }];
}
