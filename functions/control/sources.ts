import { Problem } from "../errors.ts";
import { findSource, putSources } from "../runners/sources.ts";
import { idempotencyOf } from "./mutation.ts";
import { controlRouter } from "./openapi.ts";
import { upload, look } from "./routes/sources.ts";
import { mutateRunner } from "./runner-mutation.ts";
import { sourcesView } from "./runner-schemas.ts";

export const sources = controlRouter()
  .openapi(upload, async (c) => {
    const { id } = c.req.valid("param");
    const sha256 = c.req.valid("header")["x-signalbox-sha256"] ?? null;
    const idempotency = await idempotencyOf(c.req.raw, sha256 ?? "");
    if (idempotency !== null && sha256 === null) {
      const message = "is required with an Idempotency-Key: a stream is told from another by nothing else";
      throw new Problem("invalid_request", `x-signalbox-sha256 ${message}.`, {
        errors: [{ field: "header.x-signalbox-sha256", message }],
      });
    }
    const answer = await mutateRunner(c.env.control, idempotency, {
      runnerId: id,
      action: "runner.upload",
      act: () => putSources(c.env.control.env, id, c.req.raw, sha256),
      details: (stored) => stored,
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
