import { createRoute, z } from "@hono/zod-openapi";
import { controlRouter, json, operator, problems } from "./openapi.ts";
import { auditQuery, auditView } from "./schemas.ts";

const listAudit = createRoute({
  security: operator,
  tags: ["audit"],
  method: "get",
  path: "/audit",
  summary: "Who changed what, newest first",
  request: { query: auditQuery },
  responses: { 200: json(z.object({ entries: z.array(auditView) })), ...problems },
});

export const audit = controlRouter().openapi(listAudit, async (c) => {
  const { app, limit, before } = c.req.valid("query");
  const rows = await c.env.control.store.listAudit({ app: app ?? null, limit, before: before ?? null });
  return c.json({ entries: rows.map((row) => ({ ...row, at: new Date(row.at).toISOString() })) }, 200);
});
