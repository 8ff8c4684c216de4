import { createRoute, z } from "@hono/zod-openapi";
import { projectPath } from "../project-schemas.ts";
import { logView } from "../schemas.ts";
import { projectLogQuery } from "../workspace-schemas.ts";
import { operator, problems } from "./parts.ts";

export const read = createRoute({
  security: operator,
  tags: ["projects"],
  method: "get",
  path: "/projects/{slug}/logs",
  summary:
    "What installs, the dev server and agents wrote, a page from `cursor` on; `wait` waits for the first line; " +
    "`follow=1` is a stream of such pages that resumes by Last-Event-ID",
  request: { params: projectPath, query: projectLogQuery },
  responses: {
    200: {
      description: "A page, or with `follow=1` a stream of pages",
      content: { "application/json": { schema: logView }, "text/event-stream": { schema: z.string() } },
    },
    ...problems,
  },
});
