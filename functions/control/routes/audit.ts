import { createRoute, z } from "@hono/zod-openapi";
import { auditQuery, auditView } from "../schemas.ts";
import { json, operator, problems } from "./parts.ts";

export const listAudit = createRoute({
  security: operator,
  tags: ["audit"],
  method: "get",
  path: "/audit",
  summary: "Who changed what, newest first",
  request: { query: auditQuery },
  responses: { 200: json(z.object({ entries: z.array(auditView) })), ...problems },
});
