import type { z } from "@hono/zod-openapi";
import { callProject, streamOfProject } from "../projects/call-project.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../protocol/limits.ts";
import {
  parseDeletedFile,
  parseFoundFiles,
  parseProjectFile,
  parseProjectFiles,
  parseWrittenFile,
  workspacePaths,
} from "../protocol/workspace-api.ts";
import { actThenRecord } from "./act-then-record.ts";
import { controlRouter } from "./openapi.ts";
import { runnerOfProject } from "./projects.ts";
import * as routes from "./routes/project-files.ts";
import { deletedView, writtenView } from "./workspace-schemas.ts";

export const projectFiles = controlRouter()
  .openapi(routes.list, async (c) => {
    const { slug } = c.req.valid("param");
    const { path } = c.req.valid("query");
    const at = await runnerOfProject(c.env.control, slug);
    return c.json(await callProject(at, "GET", workspacePaths.files(slug, path), parseProjectFiles), 200);
  })
  .openapi(routes.read, async (c) => {
    const { slug, path } = c.req.valid("param");
    const { encoding } = c.req.valid("query");
    const at = await runnerOfProject(c.env.control, slug);
    const file = await callProject(at, "GET", workspacePaths.file(slug, path, encoding), parseProjectFile, {
      limitBytes: CONTROL_MESSAGE_LIMIT_BYTES,
    });
    return c.json(file, 200);
  })
  .openapi(routes.write, async (c) => {
    const context = c.env.control;
    const { slug, path } = c.req.valid("param");
    const body = c.req.valid("json");
    const written = await actThenRecord<Written, Written>(context, c.var.idempotency, {
      subject: { kind: "project", id: slug },
      action: "project.write-file",
      act: async () => {
        const at = await runnerOfProject(context, slug);
        return callProject(at, "PUT", workspacePaths.file(slug, path), parseWrittenFile, { body });
      },
      details: ({ size }) => ({ bytes: size }),
      remember: { schema: writtenView, of: (answer) => answer },
      repeated: (answer) => answer,
    });
    return c.json(written, 200);
  })
  .openapi(routes.remove, async (c) => {
    const context = c.env.control;
    const { slug, path } = c.req.valid("param");
    const deleted = await actThenRecord<Deleted, Deleted>(context, c.var.idempotency, {
      subject: { kind: "project", id: slug },
      action: "project.delete-file",
      act: async () => {
        const at = await runnerOfProject(context, slug);
        return callProject(at, "DELETE", workspacePaths.file(slug, path), parseDeletedFile);
      },
      remember: { schema: deletedView, of: (answer) => answer },
      repeated: (answer) => answer,
    });
    return c.json(deleted, 200);
  })
  .openapi(routes.search, async (c) => {
    const { slug } = c.req.valid("param");
    const at = await runnerOfProject(c.env.control, slug);
    const wanted = workspacePaths.search(slug, c.req.valid("query"));
    return c.json(await callProject(at, "GET", wanted, parseFoundFiles), 200);
  })
  .openapi(routes.changes, async (c) => {
    const { slug } = c.req.valid("param");
    const at = await runnerOfProject(c.env.control, slug);
    const { body } = await streamOfProject(at, workspacePaths.changes(slug), c.req.raw.signal);
    return new Response(body, {
      headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
    });
  });

type Written = z.infer<typeof writtenView>;
type Deleted = z.infer<typeof deletedView>;
