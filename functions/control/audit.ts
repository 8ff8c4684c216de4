import { controlRouter } from "./openapi.ts";
import { listAudit } from "./routes/audit.ts";

export const audit = controlRouter().openapi(listAudit, async (c) => {
  const { app, limit, before } = c.req.valid("query");
  const rows = await c.env.control.store.listAudit({ app: app ?? null, limit, before: before ?? null });
  return c.json({ entries: rows.map((row) => ({ ...row, at: new Date(row.at).toISOString() })) }, 200);
});
