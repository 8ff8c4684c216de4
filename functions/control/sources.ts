import { Problem } from "../errors.ts";
import { findSource, putSources } from "../runners/sources.ts";
import { actThenRecord } from "./act-then-record.ts";
import { controlRouter } from "./openapi.ts";
import { upload, look } from "./routes/sources.ts";
import { sourcesView } from "./runner-schemas.ts";

export const sources = controlRouter()
  .openapi(upload, async (c) => {
    const { id } = c.req.valid("param");
    const sha256 = c.req.valid("header")["x-signalbox-sha256"] ?? null;
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      subject: { kind: "runner", id },
      action: "runner.upload",
      act: () => putSources(c.env.control.env, id, c.req.raw, sha256),
      details: ({ sha256, bytes }) => ({ sha256, bytes }),
      remember: { schema: sourcesView, of: (stored) => stored },
      repeated: (stored) => stored,
    });
    return c.json(answer, 200);
  })
  .openapi(look, async (c) => {
    const { id, sha256 } = c.req.valid("param");
    const found = await findSource(c.env.control.env, id, sha256);
    if (found !== null) return c.json(found, 200);
    throw new Problem("unknown_source", `Runner ${id} has no source ${sha256}. Upload it first.`, {
      errors: [{ field: "path.sha256", message: "names no source of this runner" }],
    });
  });
