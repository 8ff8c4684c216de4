import { createRoute, z } from "@hono/zod-openapi";
import { runnerPath, sourcePath, sourcesHeaders, sourcesView } from "../runner-schemas.ts";
import { idempotentUpload, json, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["runners"] };

export const upload = createRoute({
  ...common,
  ...idempotentUpload,
  method: "put",
  path: "/runners/{id}/sources",
  summary:
    "Streams a source archive to the runner, which keeps it by its SHA-256, and refuses it (422 `source_refused`) " +
    "where that isn't the given one. An Idempotency-Key needs `x-signalbox-sha256`",
  request: {
    params: runnerPath,
    headers: sourcesHeaders,
    body: {
      required: true,
      content: { "application/gzip": { schema: z.string().openapi({ format: "binary" }) } },
    },
  },
  responses: { 200: json(sourcesView), ...problems },
});

export const look = createRoute({
  ...common,
  method: "get",
  path: "/runners/{id}/sources/{sha256}",
  summary: "Whether the runner has a source already (404 `unknown_source`); HEAD asks the same",
  request: { params: sourcePath },
  responses: { 200: json(sourcesView), ...problems },
});
