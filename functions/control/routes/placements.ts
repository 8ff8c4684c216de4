import { createRoute } from "@hono/zod-openapi";
import { placementBody, placementView } from "../runner-schemas.ts";
import { json, jsonBody, operator, problems } from "./parts.ts";

export const place = createRoute({
  security: operator,
  tags: ["runners"],
  method: "post",
  path: "/placements",
  summary:
    "Picks the runner for a new deployment: the named one, or the least loaded that has the labels. Says whether it " +
    "has the source; if not, upload it there (PUT /runners/{id}/sources) and deploy with this `runnerId`. Changes nothing",
  request: { body: jsonBody(placementBody) },
  responses: { 200: json(placementView), ...problems },
});
