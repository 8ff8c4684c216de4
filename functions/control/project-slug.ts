import { Problem } from "../errors.ts";
import { callProject } from "../projects/call-project.ts";
import type { Placing } from "../projects/project-place.ts";
import {
  createProject,
  deleteProject,
  readProject,
  slugSince,
  writeFormerSlug,
  type ProjectRecord,
} from "../projects/project-record.ts";
import { parseProjectView, projectOfBuild } from "../protocol/builds.ts";
import { workspacePaths } from "../protocol/workspace-api.ts";
import type { ControlContext } from "./context.ts";

/** The runner ends the dev server first. */
const RENAME_WAIT_MS = 30_000;
/** A slug may have been changed some times. */
const CHANGES_FOLLOWED = 5;

/**
 * Gives a project another slug, and with it another preview host. Links and visits of the old host end. Repeated after an
 * interruption, it goes on where that was.
 */
export async function changeSlug(
  context: ControlContext,
  record: ProjectRecord,
  wanted: string,
  place: Placing,
): Promise<void> {
  const { store, env } = context;
  const { slug, createdAt, runnerId } = record;
  const next = await readProject(store, wanted);
  const isBegun = next?.createdAt === createdAt && next.runnerId === runnerId;
  if (next !== null && !isBegun) throw taken(wanted);
  const version = Math.max(context.now(), record.version + 1);
  const renamed = { ...record, slug: wanted, previewEpoch: record.previewEpoch + 1, version };
  if (!isBegun && !(await createProject(store, renamed))) throw taken(wanted);
  try {
    place.require();
    const options = { body: { slug: wanted }, waitMs: RENAME_WAIT_MS };
    await callProject({ env, runnerId }, "POST", workspacePaths.slug(slug), parseProjectView, options);
  } catch (error) {
    // The runner's own refusal changed nothing; of all else a repeat finds out.
    const isRefused = error instanceof Problem && error.status < 500;
    if (isRefused) await deleteProject(store, isBegun ? next : renamed);
    throw error;
  }
  await writeFormerSlug(store, slug, wanted);
  await deleteProject(store, record);
}

/** The project of a build, whose id has the slug that the project had when it was prompted. */
export async function requireProjectOfBuild(context: ControlContext, id: string): Promise<ProjectRecord> {
  const first = projectOfBuild(id);
  if (first === null) throw new Problem("unknown_build", `There is no build ${id}.`);
  let slug: string | null = first;
  for (let followed = 0; slug !== null && followed <= CHANGES_FOLLOWED; followed++) {
    const record = await readProject(context.store, slug);
    if (record !== null) return record;
    slug = await slugSince(context.store, slug);
  }
  throw new Problem("unknown_project", `There is no project ${first}.`);
}

function taken(slug: string): Problem {
  return new Problem("project_exists", `There is a project ${slug}. Choose another slug.`, {
    errors: [{ field: "slug", message: "is taken" }],
  });
}
