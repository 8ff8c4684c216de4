import { posix } from "node:path";
import { readPackageJson, type PackageJson } from "./package-json.ts";
import { filesBelow, type ProjectFiles } from "./project-files.ts";

/** Deeper than workspaces keep their members. */
const DEPTH_LIMIT = 5;

export interface Member {
  /** From the root: `packages/web`. */
  path: string;
  manifest: PackageJson;
}

/** The patterns that name a workspace's members; null: this directory is no workspace's root. */
export function workspacePatterns(root: ProjectFiles): string[] | null {
  const pnpm = root.read("pnpm-workspace.yaml");
  const patterns = pnpm === null ? null : yamlList(pnpm, "packages");
  return patterns ?? readPackageJson(root)?.workspaces ?? null;
}

/** Whether a directory is a member, by its path from the root. */
export function isMember(patterns: readonly string[], path: string): boolean {
  const named = (wanted: string): boolean => globExpression(wanted).test(path);
  const [excluded, included] = [true, false].map((negated) =>
    patterns
      .filter((pattern) => pattern.startsWith("!") === negated)
      .map((pattern) => pattern.replace("!", "")),
  );
  return (included ?? []).some(named) && !(excluded ?? []).some(named);
}

/** Every member that has a package.json, in the order of their paths. */
export function membersOf(root: ProjectFiles): Member[] {
  const patterns = workspacePatterns(root);
  if (patterns === null) return [];
  const members: Member[] = [];
  const walk = (path: string, depth: number): void => {
    for (const name of root.list(path)) {
      if (name === "node_modules" || name.startsWith(".")) continue;
      const below = posix.join(path, name);
      if (isMember(patterns, below)) {
        const manifest = readPackageJson(filesBelow(root, below));
        if (manifest !== null) members.push({ path: below, manifest });
      }
      if (depth < DEPTH_LIMIT) walk(below, depth + 1);
    }
  };
  walk(".", 1);
  return members;
}

/** The members that a member needs, each after those that it needs itself. */
export function neededMembers(members: readonly Member[], path: string): Member[] {
  const byName = new Map(members.map((member) => [member.manifest.name, member]));
  const needed: Member[] = [];
  const seen = new Set([path]);
  const visit = (member: Member | undefined): void => {
    for (const name of Object.keys(member?.manifest.dependencies ?? {})) {
      const other = byName.get(name);
      if (other === undefined || seen.has(other.path)) continue;
      seen.add(other.path);
      visit(other);
      needed.push(other);
    }
  };
  visit(members.find((member) => member.path === path));
  return needed;
}

/** `packages:` of pnpm-workspace.yaml, the one list of it that says where members are, in either of YAML's two spellings. */
function yamlList(text: string, name: string): string[] | null {
  const inline = new RegExp(`^${name}:\\s*\\[([^\\]]*)\\]`, "m").exec(text)?.[1];
  const block = new RegExp(`^${name}:[^\\S\\n]*(?:#.*)?\\n((?:[^\\S\\n]*(?:-.*|#.*)?(?:\\n|$))*)`, "m").exec(
    text,
  )?.[1];
  const items = inline?.split(",") ?? block?.split("\n").filter((line) => /^\s*-/.test(line));
  const values = items?.map((item) =>
    item
      .replace(/^\s*-\s*/, "")
      .replace(/\s+#.*$/, "")
      .trim()
      .replace(/^(["'])(.*)\1$/, "$2"),
  );
  return values?.filter((value) => value !== "") ?? null;
}

function globExpression(pattern: string): RegExp {
  const source = posix
    .normalize(pattern)
    .replace(/\/$/, "")
    .replace(/\*\*\/?|\*|\{[^}]*\}|[.+^$()|[\]\\?]/g, (part) => {
      if (part.startsWith("**")) return part.endsWith("/") ? "(?:.*/)?" : ".*";
      if (part === "*") return "[^/]*";
      if (part.startsWith("{")) return `(?:${part.slice(1, -1).replaceAll(",", "|")})`;
      return `\\${part}`;
    });
  return new RegExp(`^${source}$`);
}
