import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import ignore, { type Ignore } from "ignore";

/** Never part of a source, whatever a file says: history, what is installed anew, and the local stack's secrets. */
const ALWAYS = new Set([".git", "node_modules", ".signalbox"]);
/** The second one counts more where both speak of a path. */
const RULE_FILES = [".gitignore", ".signalboxignore"];

/** The rules of one directory, which speak of paths below it. */
interface Rules {
  directory: string;
  rules: Ignore;
}

/** Which paths below a directory belong to its source. Rules of directories above count up to the repository's root. */
export class IgnoreRules {
  readonly #levels: Rules[];

  private constructor(levels: Rules[]) {
    this.#levels = levels;
  }

  /** `alone`: what is above the directory has no say, since it was made for packing. */
  static of(directory: string, alone: boolean): IgnoreRules {
    const above = alone ? [] : repositoryPath(directory);
    return new IgnoreRules([...above, directory].flatMap(rulesOf));
  }

  /** The same with the rules of a directory below on top. */
  below(directory: string): IgnoreRules {
    const more = rulesOf(directory);
    return more.length === 0 ? this : new IgnoreRules([...this.#levels, ...more]);
  }

  /** As git does it: the closest file that speaks of a path decides. */
  excludes(path: string, isDirectory: boolean): boolean {
    const name = path.slice(path.lastIndexOf(sep) + 1);
    if (ALWAYS.has(name)) return true;
    for (const { directory, rules } of this.#levels.toReversed()) {
      const inside = relative(directory, path).split(sep).join("/");
      const { ignored, unignored } = rules.test(isDirectory ? `${inside}/` : inside);
      if (ignored || unignored) return ignored;
    }
    return false;
  }
}

function rulesOf(directory: string): Rules[] {
  const texts = RULE_FILES.map((name) => join(directory, name))
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, "utf8"));
  if (texts.length === 0) return [];
  return [{ directory, rules: ignore({ ignorecase: false }).add(texts.join("\n")) }];
}

/** The directories from a repository's root down to the one above; none outside of a repository. */
function repositoryPath(directory: string): string[] {
  const path: string[] = [];
  for (let at = directory; !existsSync(join(at, ".git")); at = dirname(at)) {
    if (dirname(at) === at) return [];
    path.unshift(dirname(at));
  }
  return path;
}
