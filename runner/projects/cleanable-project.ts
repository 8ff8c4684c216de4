import { join } from "node:path";
import type { CleanableProject } from "../cleanup/cleanup.ts";
import { findCaches, findHomeCaches } from "../workspaces/caches.ts";
import type { Workspaces } from "../workspaces/workspaces.ts";
import type { Project } from "./project.ts";

/** A project as the cleanup sees it. `own` is what the runner keeps of it. */
export function cleanable(project: Project, own: string, workspaces: Workspaces): CleanableProject {
  const { project: slug, directory } = project;
  return {
    slug,
    directory,
    usedAt: () => workspaces.usedAt(slug),
    inUse: () => project.inUse ?? (workspaces.isFresh(slug) ? "it was used a moment ago" : null),
    caches: async () => [...(await findCaches(directory)), ...(await findHomeCaches(join(own, "home")))],
    onlyCopy: () => project.git.onlyCopy(),
    deleteCaches: (paths) => project.deleteCaches(paths),
    deleteFiles: () => project.deleteFiles(),
  };
}
