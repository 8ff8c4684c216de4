import { createRoute, z } from "@hono/zod-openapi";
import { reportSchema } from "../../janitor/report.ts";
import { janitorBody } from "../schemas.ts";
import { idempotent, json, jsonBody, operator, problems } from "./parts.ts";

export const runJanitor = createRoute({
  security: operator,
  ...idempotent,
  tags: ["janitor"],
  method: "post",
  path: "/janitor/run",
  summary: "Runs the janitor now; with `dryRun` it decides, says why and changes nothing",
  request: { body: jsonBody(janitorBody) },
  responses: { 200: json(reportSchema), ...problems },
});

export const lastJanitor = createRoute({
  security: operator,
  tags: ["janitor"],
  method: "get",
  path: "/janitor/last",
  summary: "The last run; stale if it was more than three periods ago",
  responses: {
    200: json(z.object({ stale: z.boolean(), report: reportSchema.nullable() })),
    ...problems,
  },
});
