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
    "Uploads a source archive to the runner, which keeps it by its SHA-256 and refuses one with another hash than " +
    "`x-signalbox-sha256` (422 `source_refused`). An Idempotency-Key needs that header",
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
  summary: "Whether the runner has a source (404 `unknown_source`); HEAD works too",
  request: { params: sourcePath },
  responses: { 200: json(sourcesView), ...problems },
});
