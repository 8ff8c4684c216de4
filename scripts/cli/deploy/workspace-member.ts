import { existsSync, readFileSync, realpathSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { z } from "zod";
import { parseUserJson } from "../../../functions/protocol/user-json.ts";
import { Failure } from "../failure.ts";
import { directoriesUpward } from "../trust.ts";

const dependencies = z.record(z.string(), z.string()).optional().catch(undefined);
const manifest = z.object({
  name: z.string().optional().catch(undefined),
  workspaces: z.unknown().optional(),
  dependencies,
  devDependencies: dependencies,
  optionalDependencies: dependencies,
});

/**
 * Refuses a workspace's member whose dependencies are beside it: the runner gets the member alone, and would fail to
 * install it after the upload.
 */
export function refuseWorkspaceMember(directory: string): void {
  const own = read(directory);
  if (own === null) return;
  const root = directoriesUpward(directory).slice(1).find(isWorkspace);
  if (root === undefined) return;
  const needed = { ...own.devDependencies, ...own.optionalDependencies, ...own.dependencies };
  const missing = Object.entries(needed).find(([name, wanted]) => leadsOut(wanted) || isLinkedTo(root, name));
  if (missing === undefined) return;
  const member = relative(root, directory).split(sep).join("/");
  throw new Failure(
    "config",
    "workspace_member",
    `${member} is a member of the workspace in ${root} and needs ${missing[0]} of it, which isn't sent along: its ` +
      `installation would fail. Deploy the workspace: signalbox deploy ${root} --start "npm start --workspace ${member}". ` +
      "Or bundle the member with `prepare` in signalbox.json, or say with --install how to install it alone.",
  );
}

function isWorkspace(directory: string): boolean {
  return existsSync(join(directory, "pnpm-workspace.yaml")) || read(directory)?.workspaces !== undefined;
}

/** What only a workspace's package manager can resolve, or what lies outside of the directory. */
function leadsOut(wanted: string): boolean {
  return (
    /^(?:workspace|catalog|portal):/.test(wanted) ||
    /^(?:(?:file|link):)?(?:\.\/)*\.\.(?:[/\\]|$)/.test(wanted)
  );
}

/** Npm and yarn name a member by a version like any package, and link it. */
function isLinkedTo(root: string, name: string): boolean {
  const linked = join(root, "node_modules", ...name.split("/"));
  if (!existsSync(linked)) return false;
  return !relative(realpathSync(root), realpathSync(linked)).split(sep).includes("node_modules");
}

function read(directory: string): z.infer<typeof manifest> | null {
  const file = join(directory, "package.json");
  if (!existsSync(file)) return null;
  try {
    return manifest.parse(parseUserJson(readFileSync(file, "utf8")));
  } catch {
    return null; // its own tools will say what is wrong with it
  }
}
