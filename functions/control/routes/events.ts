import { createRoute, z } from "@hono/zod-openapi";
import { operator, problems } from "./parts.ts";

/** More than a page shows at a time. */
const WATCHED_LIMIT = 4;

const watched = z.string().regex(/^(?:app|runner):[\w.-]{1,128}$/, "must be app:NAME or runner:ID");

export const read = createRoute({
  security: operator,
  tags: ["events"],
  method: "get",
  path: "/events",
  summary:
    "What changes, as server-sent events: `changed` with `{topic}`, one of app:NAME, runner:ID, project:SLUG and janitor; " +
    "with `watch` also `watched`, every 2 s, what no change tells of",
  request: {
    query: z.object({
      watch: z
        .union([watched, z.array(watched).max(WATCHED_LIMIT)])
        .optional()
        .transform((given) => (given === undefined ? [] : [given].flat())),
    }),
  },
  responses: {
    200: { description: "A stream", content: { "text/event-stream": { schema: z.string() } } },
    ...problems,
  },
});
