import type { z } from "@hono/zod-openapi";
import { Problem } from "../errors.ts";
import { previewLink, previewUrlOf } from "./preview-link.ts";
import { newBuildId } from "../projects/build-id.ts";
import { creationOf, putProject, takeBack } from "../projects/creation.ts";
import { nameFromAddress, nameFromPrompt, slugFromName, slugsLike } from "../projects/naming.ts";
import {
  changeProject,
  createProject,
  deleteProject,
  listProjects,
  readProject,
  type ProjectRecord,
} from "../projects/project-record.ts";
import { setEnv } from "../projects/set-env.ts";
import { placing } from "../projects/project-place.ts";
import { RunnerProjects } from "../projects/runner-projects.ts";
import { IMPORT_AGENT, type BuildView, type ProjectView } from "../protocol/builds.ts";
import type { ImportSource } from "../protocol/runner-api.ts";
import { placeOnRunner } from "../runners/placement.ts";
import { hubOf, type HubBinding } from "../runners/reach-hub.ts";
import { actThenRecord } from "./act-then-record.ts";
import type { ControlContext } from "./context.ts";
import { controlRouter } from "./openapi.ts";
import {
  type projectBody,
  projectCreated,
  projectDeleted,
  type projectDetails,
  projectView,
} from "./project-schemas.ts";
import { changeSlug } from "./project-slug.ts";
import * as routes from "./routes/projects.ts";

/** Slugs tried for a name that is taken. */
const SLUGS_TRIED = 50;

type View = z.infer<typeof projectView>;

export const projects = controlRouter()
  .openapi(routes.list, async (c) => {
    const { after, limit } = c.req.valid("query");
    const records = await listProjects(c.env.control.store, { after: after ?? null, limit });
    return c.json({ projects: records.map((record) => viewProject(record, c.req.url, c.env.control)) }, 200);
  })
  .openapi(routes.create, async (c) => {
    const context = c.env.control;
    const body = c.req.valid("json");
    const answer = await actThenRecord(context, c.var.idempotency, {
      action: "project.create",
      act: async () => {
        const { sha256 } = body.source ?? {};
        const { runnerId } = await placeOnRunner(
          { env: context.env, store: context.store },
          { runnerId: body.runnerId, ...(sha256 !== undefined && { source: { sha256 } }) },
          { needsSource: sha256 !== undefined, at: "" },
        );
        const creation = await creationOf(c.var.idempotency);
        const record = await newRecord(context, { runnerId, creation }, body);
        const build = await makeProject(context, record, creation, body);
        return { ...viewProject(record, c.req.url, context), build };
      },
      details: ({ slug, runnerId, build }) => ({ project: slug, runner: runnerId, build: build?.id ?? null }),
      remember: { schema: projectCreated, of: (made) => made },
      repeated: (made) => made,
    });
    return c.json(answer, 201);
  })
  .openapi(routes.read, async (c) => {
    const context = c.env.control;
    const record = await requireProject(context, c.req.valid("param").slug);
    const asked = new RunnerProjects(context.env, record.runnerId).read(record.slug);
    return c.json(await detailsOf(record, asked, c.req.url, context), 200);
  })
  .openapi(routes.change, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const { name, public: isPublic, slug: wanted = slug } = c.req.valid("json");
    const answer = await actThenRecord(context, c.var.idempotency, {
      ...asViewed(slug, "project.change"),
      act: async () => {
        if (wanted !== slug)
          await placing(context.store, [slug, wanted], async (place) => {
            const record = await removeStray(context, await requireProject(context, slug));
            await changeSlug(context, record, wanted, place);
          });
        const next = await changeRecord(context, wanted, (record) => ({
          ...record,
          name: name ?? record.name,
          isPublic: isPublic ?? record.isPublic,
        }));
        return viewProject(next, c.req.url, context);
      },
    });
    return c.json(answer, 200);
  })
  .openapi(routes.remove, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const { files } = c.req.valid("query");
    const answer = await actThenRecord(context, c.var.idempotency, {
      subject: { kind: "project", id: slug },
      action: "project.delete",
      details: ({ kept }) => ({ kept }),
      remember: { schema: projectDeleted, of: (gone) => gone },
      repeated: (gone) => gone,
      act: () =>
        placing(context.store, [slug], async (place) => {
          const record = await removeStray(context, await requireProject(context, slug));
          place.require();
          const projects = new RunnerProjects(context.env, record.runnerId);
          const kept = files === "keep" ? await projects.release(slug) : null;
          if (files === "delete") await projects.remove(slug);
          await hubOf(context.env, record.runnerId).forgetBuilds(slug);
          await deleteProject(context.store, record);
          return { ...viewProject(record, c.req.url, context), kept };
        }),
    });
    return c.json(answer, 200);
  })
  .openapi(routes.startServer, async (c) => {
    const context = c.env.control;
    const record = await requireProject(context, c.req.valid("param").slug);
    const asked = new RunnerProjects(context.env, record.runnerId).startServer(record.slug);
    return c.json(await detailsOf(record, asked, c.req.url, context), 202);
  })
  .openapi(routes.stopServer, async (c) => {
    const context = c.env.control;
    const record = await requireProject(context, c.req.valid("param").slug);
    const asked = new RunnerProjects(context.env, record.runnerId).stopServer(record.slug);
    return c.json(await detailsOf(record, asked, c.req.url, context), 200);
  })
  .openapi(routes.share, async (c) => {
    const context = c.env.control;
    const { seconds, port = null, once } = c.req.valid("json");
    const record = await requireProject(context, c.req.valid("param").slug);
    const expiresAt = context.now() + seconds * 1_000;
    const url = await previewLink(record, { port, once, expiresAt, askedAt: c.req.url }, context);
    if (url === null) {
      throw new Problem(
        "preview_unset",
        "There are no previews: set PREVIEW_DOMAIN to a domain whose names lead here.",
      );
    }
    return c.json({ url, expiresAt: new Date(expiresAt).toISOString() }, 201);
  })
  .openapi(routes.revoke, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const answer = await actThenRecord(context, c.var.idempotency, {
      ...asViewed(slug, "project.revoke-previews"),
      act: async () => {
        const next = await changeRecord(context, slug, (record) => ({
          ...record,
          previewEpoch: record.previewEpoch + 1,
        }));
        return viewProject(next, c.req.url, context);
      },
    });
    return c.json(answer, 200);
  });

/** All of it or nothing. Answers its first build. */
async function makeProject(
  { env, store }: ControlContext,
  record: ProjectRecord,
  creation: string,
  body: z.infer<typeof projectBody>,
): Promise<BuildView | null> {
  const { source, prompt, begin = true, agent = null, env: variables = [] } = body;
  const { slug, name, runnerId } = record;
  const place = { env, store, runnerId, slug };
  try {
    const { builds } = await putProject(place, creation, { name, agent, source: sourceOf(source) });
    if (variables.length > 0) await setEnv(env, runnerId, slug, variables);
    const first = begin ? firstBuild(source, prompt, agent) : null;
    if (first === null) return null;
    // A repeat finds the build of the first request.
    return (
      builds[0] ?? (await new RunnerProjects(env, runnerId).build(slug, { id: newBuildId(slug), ...first }))
    );
  } catch (error) {
    await takeBack(place, creation, error);
    await deleteProject(store, record);
    throw error;
  }
}

export async function requireProject({ store }: ControlContext, slug: string): Promise<ProjectRecord> {
  const record = await readProject(store, slug);
  if (record !== null) return record;
  throw new Problem("unknown_project", `There is no project ${slug}.`, {
    errors: [{ field: "path.slug", message: "names no project" }],
  });
}

type Source = z.infer<typeof projectBody>["source"];

function sourceOf(source: Source): ImportSource | null {
  const { git, branch = null, sha256 } = source ?? {};
  if (git !== undefined) return { url: git, branch };
  return sha256 === undefined ? null : { sha256 };
}

/** An import has the words of a prompt, for people. */
function firstBuild(
  source: Source,
  prompt: string | undefined,
  agent: string | null,
): { prompt: string; agent: string | null } | null {
  if (source !== undefined) return { prompt: `Import ${source.git ?? "an archive"}`, agent: IMPORT_AGENT };
  return prompt === undefined ? null : { prompt, agent };
}

/** Whom to call about a project. */
export async function runnerOfProject(
  context: ControlContext,
  slug: string,
): Promise<{ env: HubBinding; runnerId: string }> {
  return { env: context.env, runnerId: (await requireProject(context, slug)).runnerId };
}

/** A copy that an interrupted move left. Throws while its runner is away. */
export async function removeStray(context: ControlContext, record: ProjectRecord): Promise<ProjectRecord> {
  const { stray, slug } = record;
  if (stray === null) return record;
  await new RunnerProjects(context.env, stray).remove(slug);
  await hubOf(context.env, stray).forgetBuilds(slug);
  return changeRecord(context, slug, (now) => (now.stray === stray ? { ...now, stray: null } : now));
}

/** Takes the first free slug; of two creations at once, one gets the next. A repeat gets the first request's. */
async function newRecord(
  { store, now }: ControlContext,
  { runnerId, creation }: { runnerId: string; creation: string },
  body: z.infer<typeof projectBody>,
): Promise<ProjectRecord> {
  const name =
    body.name ??
    (body.prompt === undefined
      ? (body.slug ?? nameFromAddress(body.source?.git))
      : nameFromPrompt(body.prompt));
  let tries = 0;
  for (const slug of slugsLike(body.slug ?? slugFromName(name))) {
    const record: ProjectRecord = {
      schema: 1,
      slug,
      name,
      runnerId,
      createdAt: now(),
      isPublic: false,
      previewEpoch: 1,
      // Above that of an earlier project of this slug, whose deletion the store remembers.
      version: now(),
      stray: null,
      creation,
    };
    if (await createProject(store, record)) return record;
    const known = await readProject(store, slug);
    if (known?.creation === creation) return known;
    if (body.slug !== undefined || ++tries === SLUGS_TRIED) break;
  }
  throw new Problem(
    "project_exists",
    `There is a project ${body.slug ?? slugFromName(name)}. Choose another slug.`,
    {
      errors: [{ field: "slug", message: "is taken" }],
    },
  );
}

export async function changeRecord(
  context: ControlContext,
  slug: string,
  change: (record: ProjectRecord) => ProjectRecord,
): Promise<ProjectRecord> {
  await requireProject(context, slug);
  const next = await changeProject(context.store, slug, change);
  return next ?? requireProject(context, slug);
}

async function detailsOf(
  record: ProjectRecord,
  asked: Promise<ProjectView>,
  url: string,
  context: ControlContext,
): Promise<z.infer<typeof projectDetails>> {
  const view = viewProject(record, url, context);
  try {
    const { agent, framework, devServer, builds } = await asked;
    return { ...view, runner: { agent, framework, devServer, builds } };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { ...view, runner: null, detail: error.message };
  }
}

/** A change whose answer is the project's view. */
const asViewed = (id: string, action: string) => ({
  subject: { kind: "project" as const, id },
  action,
  remember: { schema: projectView, of: (view: View) => view },
  repeated: (view: View) => view,
});

export function viewProject(record: ProjectRecord, url: string, context: ControlContext): View {
  const { slug, name, runnerId, createdAt, isPublic } = record;
  return {
    slug,
    name,
    runnerId,
    createdAt: new Date(createdAt).toISOString(),
    public: isPublic,
    previewUrl: previewUrlOf(slug, null, url, context),
  };
}
