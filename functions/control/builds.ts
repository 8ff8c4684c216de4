import { Problem } from "../errors.ts";
import { newBuildId } from "../projects/build-id.ts";
import { eventStream } from "../projects/event-stream.ts";
import { RunnerProjects } from "../projects/runner-projects.ts";
import type { BuildView } from "../protocol/builds.ts";
import { IMAGE_LIMIT_BYTES } from "../protocol/images.ts";
import { hubOf } from "../runners/reach-hub.ts";
import { actThenRecord } from "./act-then-record.ts";
import type { ControlContext } from "./context.ts";
import { lastEventId } from "./last-event-id.ts";
import { controlRouter } from "./openapi.ts";
import { buildView, imageView, undoView } from "./project-schemas.ts";
import { requireProjectOfBuild } from "./project-slug.ts";
import { requireProject } from "./projects.ts";
import * as routes from "./routes/builds.ts";

export const builds = controlRouter()
  .openapi(routes.create, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const { prompt, agent = null, limits, images } = c.req.valid("json");
    const id = newBuildId(slug);
    const answer = await actThenRecord(context, c.var.idempotency, {
      ...asViewed(id, "build.create"),
      act: async () => {
        const { runnerId } = await requireProject(context, slug);
        return new RunnerProjects(context.env, runnerId).build(slug, { id, prompt, agent, limits, images });
      },
    });
    return c.json(answer, 202);
  })
  .openapi(routes.image, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const sha256 = c.req.valid("header")["x-signalbox-sha256"] ?? null;
    const answer = await actThenRecord(context, c.var.idempotency, {
      subject: { kind: "project", id: slug },
      action: "project.image",
      act: async () => {
        const { runnerId } = await requireProject(context, slug);
        return new RunnerProjects(context.env, runnerId).putImage(slug, requireImage(c.req.raw), sha256);
      },
      details: ({ sha256, type, bytes }) => ({ sha256, type, bytes }),
      remember: { schema: imageView, of: (stored) => stored },
      repeated: (stored) => stored,
    });
    return c.json(answer, 200);
  })
  .openapi(routes.read, async (c) => {
    const { id } = c.req.valid("param");
    const { slug, runner } = await runnerOf(c.env.control, id);
    return c.json(await runner.readBuild(slug, id), 200);
  })
  .openapi(routes.events, async (c) => {
    const context = c.env.control;
    const { id } = c.req.valid("param");
    const { runnerId } = await requireProjectOfBuild(context, id);
    const read = (after: number, waitMs: number) =>
      hubOf(context.env, runnerId).buildEvents(id, after, waitMs);
    return eventStream(read, lastEventId(c.req.raw) ?? 0);
  })
  .openapi(routes.diff, async (c) => {
    const { id } = c.req.valid("param");
    const { slug, runner } = await runnerOf(c.env.control, id);
    return c.json(await runner.diff(slug, id), 200);
  })
  .openapi(routes.undo, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const { build = null, changed } = c.req.valid("json");
    const answer = await actThenRecord(context, c.var.idempotency, {
      subject: { kind: "project", id: slug },
      action: "project.undo",
      act: async () => {
        const { runnerId } = await requireProject(context, slug);
        return new RunnerProjects(context.env, runnerId).undo(slug, { build, changed });
      },
      remember: { schema: undoView, of: (view) => view },
      repeated: (view) => view,
    });
    return c.json(answer, 200);
  })
  .openapi(routes.cancel, async (c) => {
    const context = c.env.control;
    const { id } = c.req.valid("param");
    const answer = await actThenRecord(context, c.var.idempotency, {
      ...asViewed(id, "build.cancel"),
      act: async () => {
        const { slug, runner } = await runnerOf(context, id);
        return runner.cancel(slug, id, context.caller.actor);
      },
    });
    return c.json(answer, 200);
  })
  .openapi(routes.answer, async (c) => {
    const context = c.env.control;
    const { id, request } = c.req.valid("param");
    const { option } = c.req.valid("json");
    const answer = await actThenRecord(context, c.var.idempotency, {
      ...asViewed(id, "build.answer"),
      act: async () => {
        const { slug, runner } = await runnerOf(context, id);
        return runner.answer(slug, id, request, { option, by: context.caller.actor });
      },
    });
    return c.json(answer, 200);
  });

/** The runner looks at its bytes. Throws {@link Problem}. */
function requireImage(request: Request): Request {
  if (request.body === null) {
    const message = "is required: send an image";
    throw new Problem("invalid_request", `The body ${message}.`, { errors: [{ field: "body", message }] });
  }
  if (Number(request.headers.get("content-length") ?? 0) > IMAGE_LIMIT_BYTES) {
    const message = `must be at most ${IMAGE_LIMIT_BYTES} bytes`;
    throw new Problem("body_too_large", `An image ${message}.`, { errors: [{ field: "body", message }] });
  }
  return request;
}

async function runnerOf(
  context: ControlContext,
  id: string,
): Promise<{ slug: string; runner: RunnerProjects }> {
  const { slug, runnerId } = await requireProjectOfBuild(context, id);
  return { slug, runner: new RunnerProjects(context.env, runnerId) };
}

/** A change whose answer is the build's view. */
const asViewed = (id: string, action: string) => ({
  subject: { kind: "build" as const, id },
  action,
  remember: { schema: buildView, of: (view: BuildView) => view },
  repeated: (view: BuildView) => view,
});
