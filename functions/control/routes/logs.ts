import { createRoute, z } from "@hono/zod-openapi";
import { deploymentPath, logQuery, logView } from "../schemas.ts";
import { operator, problems } from "./parts.ts";

export const read = createRoute({
  security: operator,
  tags: ["deployments"],
  method: "get",
  path: "/apps/{app}/deployments/{id}/logs",
  summary:
    "What the build and the app wrote, a page from `cursor` on; `wait` waits for the first line; " +
    "`follow=1` is a stream of such pages that resumes by Last-Event-ID and ends with `end`",
  request: { params: deploymentPath, query: logQuery },
  responses: {
    200: {
      description: "A page, or with `follow=1` a stream of pages",
      content: { "application/json": { schema: logView }, "text/event-stream": { schema: z.string() } },
    },
    204: { description: "The stream was read to its end" },
    ...problems,
  },
});
