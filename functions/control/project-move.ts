import { Problem } from "../errors.ts";
import { newBuildId } from "../projects/build-id.ts";
import { callProject, streamOfProject } from "../projects/call-project.ts";
import { putProject, removeLeftovers } from "../projects/creation.ts";
import { placing, type Placing } from "../projects/project-place.ts";
import type { ProjectRecord } from "../projects/project-record.ts";
import { RunnerProjects } from "../projects/runner-projects.ts";
import { setEnv } from "../projects/set-env.ts";
import { IMPORT_AGENT, parseProjectView } from "../protocol/builds.ts";
import { parseGitState } from "../protocol/project-git.ts";
import { parseBelongings, workspacePaths, type Belongings } from "../protocol/workspace-api.ts";
import { placeOnRunner } from "../runners/placement.ts";
import { copySource } from "../runners/sources.ts";
import { actThenRecord } from "./act-then-record.ts";
import type { ControlContext } from "./context.ts";
import { controlRouter } from "./openapi.ts";
import { projectCreated } from "./project-schemas.ts";
import { changeRecord, removeStray, requireProject, runnerOfProject, viewProject } from "./projects.ts";
import * as routes from "./routes/project-move.ts";

/** A large archive is unpacked in that time. */
const FILL_WAIT_MS = 5 * 60_000;

export const projectMove = controlRouter()
  .openapi(routes.exported, async (c) => {
    const { slug } = c.req.valid("param");
    const at = await runnerOfProject(c.env.control, slug);
    const { body } = await streamOfProject(at, workspacePaths.export(slug), c.req.raw.signal);
    return new Response(body, {
      headers: {
        "content-type": "application/gzip",
        "content-disposition": `attachment; filename="${slug}.tgz"`,
        "cache-control": "no-store",
      },
    });
  })
  .openapi(routes.move, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const { runnerId: to } = c.req.valid("json");
    const answer = await actThenRecord(context, c.var.idempotency, {
      subject: { kind: "project" as const, id: slug },
      action: "project.move",
      act: async () => {
        const record = await requireProject(context, slug);
        if (record.runnerId === to) return { ...viewProject(record, c.req.url, context), build: null };
        await placeOnRunner(
          { env: context.env, store: context.store },
          { runnerId: to },
          { needsSource: false, at: "" },
        );
        const moved = await placing(context.store, [slug], async (place) => {
          const now = await removeStray(context, await requireProject(context, slug));
          return now.runnerId === to ? now : move(context, now, to, place);
        });
        const prompt = `Moved from runner ${record.runnerId}`;
        const build = await new RunnerProjects(context.env, to)
          .build(slug, { id: newBuildId(slug), prompt, agent: IMPORT_AGENT })
          .catch(() => null); // a visit of the preview says what is missing
        return { ...viewProject(moved, c.req.url, context), build };
      },
      details: ({ runnerId }) => ({ runner: runnerId }),
      remember: { schema: projectCreated, of: (moved) => moved },
      repeated: (moved) => moved,
    });
    return c.json(answer, 200);
  });

/**
 * The record says where the project is, and one write of it moves the project. Before that, a copy on the new runner is a
 * stray; after it, what the old runner has is one. A stray goes at once, or, if this is interrupted, before the next move or
 * deletion.
 */
async function move(
  context: ControlContext,
  record: ProjectRecord,
  to: string,
  place: Placing,
): Promise<ProjectRecord> {
  const { slug, runnerId: from } = record;
  const { env, store } = context;
  await removeLeftovers({ env, store, runnerId: to, slug });
  await refuseTaken(context, slug, to);
  const belongings = await hold({ env, runnerId: from }, slug, true);
  let moved: ProjectRecord;
  try {
    await changeRecord(context, slug, (now) => ({ ...now, stray: to }));
    await copy(context, { slug, from, to }, belongings);
    place.require();
    moved = await changeRecord(context, slug, (now) => {
      if (now.runnerId === from && now.stray === to) return { ...now, runnerId: to, stray: from };
      throw new Problem("project_busy", `Project ${slug} was changed while it was copied. Move it again.`);
    });
  } catch (error) {
    // Else somebody else may be moving it by now.
    if (!place.isSure) throw error;
    await hold({ env, runnerId: from }, slug, false).catch(() => undefined); // a restart of it lets go, too
    const now = await requireProject(context, slug);
    // The last write may have been heard, and its answer lost.
    if (now.runnerId === from) await removeStray(context, now).catch(() => undefined); // the next move does
    throw error;
  }
  return removeStray(context, moved).catch(() => moved); // the old runner is away: the next move or deletion does
}

async function copy(
  { env, store }: ControlContext,
  { slug, from, to }: { slug: string; from: string; to: string },
  { name, agent, variables, git }: Belongings,
): Promise<void> {
  const archive = await streamOfProject(
    { env, runnerId: from },
    workspacePaths.exportWhole(slug),
    AbortSignal.timeout(FILL_WAIT_MS),
  );
  if (archive.body === null) throw new Problem("runner_failed", `Runner ${from} packed nothing of ${slug}.`);
  const { sha256 } = await copySource(env, to, archive.body);
  const target = { env, runnerId: to };
  const place = { env, store, runnerId: to, slug };
  await putProject(place, crypto.randomUUID(), { name, agent, source: { sha256 } });
  if (variables.length > 0) await setEnv(env, to, slug, variables);
  await callProject(target, "PUT", workspacePaths.git(slug), parseGitState, { body: git });
  await callProject(target, "POST", workspacePaths.fill(slug), parseProjectView, { waitMs: FILL_WAIT_MS });
}

/** A project of this slug there is somebody's, unless the record says that it is a stray. */
async function refuseTaken({ env }: ControlContext, slug: string, to: string): Promise<void> {
  const found = await new RunnerProjects(env, to).read(slug).catch((error: unknown) => {
    if (error instanceof Problem && error.code === "unknown_project") return null;
    throw error;
  });
  if (found !== null)
    throw new Problem("project_exists", `Runner ${to} has a project ${slug} already: delete it there first.`);
}

function hold(at: Parameters<typeof callProject>[0], slug: string, held: boolean): Promise<Belongings> {
  const options = { body: { held }, waitMs: 30_000 };
  return callProject(at, "POST", workspacePaths.hold(slug), parseBelongings, options);
}
