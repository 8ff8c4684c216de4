import type { IncomingMessage } from "node:http";
import { z } from "zod";
import { BUILD_ID_PATTERN } from "../../functions/protocol/builds.ts";
import { IMAGES_LIMIT } from "../../functions/protocol/images.ts";
import { PROMPT_LIMIT } from "../../functions/protocol/limits.ts";
import { SHA256_HEADER, type RunnerAnswers } from "../../functions/protocol/runner-api.ts";
import type { Route } from "../deployments/api-route.ts";
import { header } from "../deployments/api-request.ts";
import { RunnerError } from "../runner-error.ts";
import { SHA256_PATTERN } from "../sources/source-store.ts";
import { importSource } from "./manifest.ts";
import { changedSince } from "./project-checkpoints.ts";
import type { ProjectManager } from "./project-manager.ts";
import type { WorkspaceRoute } from "./workspace-api.ts";

type ProjectRoute = Exclude<Extract<keyof RunnerAnswers, `${string} projects/${string}`>, WorkspaceRoute>;

const newProject = z.strictObject({
  name: z.string().min(1).max(100),
  agent: z.string().nullable(),
  source: importSource.nullable().default(null),
});
/** What {@link NewBuild.limits} says. */
const buildLimits = z.strictObject({
  seconds: z.number().positive().optional(),
  silenceSeconds: z.number().positive().optional(),
  turns: z.int().positive().optional(),
  outputBytes: z.int().positive().optional(),
  cost: z.number().positive().optional(),
});
const newBuild = z.strictObject({
  id: z.string().regex(BUILD_ID_PATTERN),
  prompt: z.string().min(1).max(PROMPT_LIMIT),
  agent: z.string().nullable(),
  limits: buildLimits.optional(),
  images: z.array(z.string().regex(SHA256_PATTERN)).max(IMAGES_LIMIT).optional(),
});
const newUndo = z.strictObject({ build: z.string().nullable(), changed: z.enum(changedSince) });
const creationOf = (url: URL): string | null => url.searchParams.get("creation");
const cancellation = z.strictObject({ by: z.string() });
const newAnswer = z.strictObject({ option: z.string().nullable(), by: z.string() });

/** The calls for projects and their builds. */
export function projectRoutes(
  projects: ProjectManager,
  readJson: (request: IncomingMessage) => Promise<unknown>,
): { [R in ProjectRoute]: Route<RunnerAnswers[R]> } {
  const body = async <T>(request: IncomingMessage, schema: z.ZodType<T>): Promise<T> => {
    const result = schema.safeParse(await readJson(request));
    if (result.success) return result.data;
    const issue = result.error.issues[0];
    throw new RunnerError("invalid_request", issue?.message ?? "The body is wrong.", issue?.path.join("."));
  };
  return {
    "PUT projects/*": async (request, url, [, slug = ""]) => ({
      status: 200,
      body: await projects.put(slug, { ...(await body(request, newProject)), creation: creationOf(url) }),
    }),
    "GET projects/*": async (_request, _url, [, slug = ""]) => ({
      status: 200,
      body: projects.get(slug).view,
    }),
    "DELETE projects/*": async (_request, url, [, slug = ""]) => {
      await projects.remove(slug, creationOf(url));
      return { status: 200, body: { removed: true } };
    },
    "PUT projects/*/images": async (request, _url, [, slug = ""]) => {
      const length = header(request, "content-length");
      const sha256 = header(request, SHA256_HEADER);
      // The default would destroy the request, and its answer, at the first refused byte.
      const image: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
      const expected = { sha256, bytes: length === undefined ? undefined : Number(length) };
      return { status: 200, body: await projects.newWork(slug, ({ images }) => images.put(image, expected)) };
    },
    "POST projects/*/release": async (_request, _url, [, slug = ""]) => ({
      status: 200,
      body: { kept: await projects.release(slug) },
    }),
    "POST projects/*/builds": async (request, _url, [, slug = ""]) => {
      const asked = await body(request, newBuild);
      const added = await projects.newWork(slug, async (project) =>
        project.shown(await project.addBuild(asked)),
      );
      return { status: 202, body: added };
    },
    "GET projects/*/builds/*": async (_request, _url, [, slug = "", , id = ""]) => {
      const project = projects.get(slug);
      return { status: 200, body: project.shown(project.build(id)) };
    },
    "GET projects/*/builds/*/diff": async (_request, _url, [, slug = "", , id = ""]) => {
      const project = projects.get(slug);
      return { status: 200, body: project.mask.value(await project.checkpoints.diff(project.build(id))) };
    },
    "POST projects/*/undo": async (request, _url, [, slug = ""]) => {
      const { build, changed } = await body(request, newUndo);
      return { status: 200, body: await projects.newWork(slug, (project) => project.undo(build, changed)) };
    },
    "POST projects/*/builds/*/cancel": async (request, _url, [, slug = "", , id = ""]) => {
      const project = projects.get(slug);
      const build = project.build(id);
      await build.cancel((await body(request, cancellation)).by);
      return { status: 200, body: project.shown(build) };
    },
    "POST projects/*/builds/*/answers/*": async (
      request,
      _url,
      [, slug = "", , id = "", , question = ""],
    ) => {
      const project = projects.get(slug);
      const build = project.build(id);
      const { option, by } = await body(request, newAnswer);
      build.answer(decodeURIComponent(question), option, by);
      return { status: 200, body: project.shown(build) };
    },
    "POST projects/*/dev-server": async (_request, url, [, slug = ""]) => {
      const isVisit = url.searchParams.get("by") === "visit";
      return { status: 202, body: projects.startServer(slug, isVisit) };
    },
    "DELETE projects/*/dev-server": async (_request, _url, [, slug = ""]) => {
      const project = projects.get(slug);
      await project.devServer.stop();
      return { status: 200, body: project.view };
    },
  };
}
