import { posix } from "node:path";
import { denoProject } from "./deno.ts";
import { nodeProject } from "./node-project.ts";
import { readPackageJson } from "./package-json.ts";
import { packageManagerOf, runScript, type PackageManager } from "./package-manager.ts";
import { filesBelow, type ProjectFiles } from "./project-files.ts";
import { procfileWeb } from "./procfile.ts";
import { pythonProject } from "./python.ts";
import type { Guess, Recognised } from "./recognised.ts";
import { inDirectory } from "./shell.ts";
import { builtFiles, serveCommand } from "./static-files.ts";
import { membersOf, neededMembers, workspacePatterns } from "./workspace.ts";

/** One thing that was decided, and what it was concluded from. */
export interface Decision {
  what: "kind" | "root" | "install" | "build" | "start" | "env";
  value: string;
  why: string;
}

/** What a directory is, and how it is built and started. Commands run in the directory itself. */
export interface Detected {
  name: string;
  install: Guess | null;
  build: Guess | null;
  start: Guess | null;
  env: Record<string, string>;
  /** Why there is no start command. */
  missing: string;
  /** In a workspace's root that starts nothing itself: the members that could be deployed. */
  members: string[];
}

/** `member`: the directory's path in the workspace whose root `root` is; "": it is the root itself, or no workspace. */
export function detect(root: ProjectFiles, member: string): Detected {
  const files = member === "" ? root : filesBelow(root, member);
  const manager = packageManagerOf(root);
  const recognised = recognise(files, manager, member !== "");
  const isOwnRoot = member === "" && workspacePatterns(root) !== null;
  const members = isOwnRoot && !hasOwnStart(files) ? deployable(root, manager) : [];
  return {
    name: recognised.name,
    install: recognised.install ?? null,
    build: withNeeded(root, member, manager, recognised.build),
    start: members.length > 0 ? null : recognised.start,
    env: recognised.env ?? {},
    missing: recognised.missing ?? "it has no server and no index.html",
    members,
  };
}

function recognise(files: ProjectFiles, manager: PackageManager, isMember: boolean): Recognised {
  const manifest = readPackageJson(files);
  const deno = denoProject(files);
  const hasScripts = manifest !== null && ("start" in manifest.scripts || "build" in manifest.scripts);
  if (deno?.start && !hasScripts) return deno;
  if (manifest !== null) return nodeProject({ files, manifest, manager, isMember });
  const python = pythonProject(files);
  if (python !== null) return python;
  const web = procfileWeb(files);
  if (web !== null) return { name: "Procfile", build: null, start: { command: web, why: "web in Procfile" } };
  if (deno !== null) return { missing: "deno.json has no start task, and no file calls Deno.serve", ...deno };
  // A single file of a server, without anything around it.
  const node = nodeProject({ files, manifest: EMPTY, manager, isMember });
  if (node.start !== null && !node.start.command.startsWith("signalbox-runner")) return node;
  const built = builtFiles(files);
  const start = built && { command: serveCommand(built), why: `index.html in ${built.directories.join()}` };
  return { name: start === null ? "unknown" : "files", build: null, start };
}

const EMPTY = { scripts: {}, dependencies: {} };

/** Builds what a member needs of its workspace before itself. */
function withNeeded(
  root: ProjectFiles,
  member: string,
  manager: PackageManager,
  build: Guess | null,
): Guess | null {
  if (member === "") return build;
  const needed = neededMembers(membersOf(root), member).filter(({ manifest }) => "build" in manifest.scripts);
  if (needed.length === 0) return build;
  const commands = needed.map(
    ({ path }) => `(${inDirectory(posix.relative(member, path), runScript(manager, "build"))})`,
  );
  const names = needed.map(({ path }) => path).join(", ");
  const why = `${names}, which it needs${build === null ? "" : `, then ${build.why}`}`;
  return { command: [...commands, ...(build === null ? [] : [build.command])].join(" && "), why };
}

function hasOwnStart(files: ProjectFiles): boolean {
  return procfileWeb(files) !== null || "start" in (readPackageJson(files)?.scripts ?? {});
}

function deployable(root: ProjectFiles, manager: PackageManager): string[] {
  return membersOf(root)
    .filter(({ path, manifest }) => {
      const { name, start } = nodeProject({
        files: filesBelow(root, path),
        manifest,
        manager,
        isMember: true,
      });
      // A library's build makes no page.
      return start !== null && !(name === "Node" && start.command.startsWith("signalbox-runner"));
    })
    .map(({ path }) => path);
}
