import { createRoute } from "@hono/zod-openapi";
import { placementBody, placementView } from "../runner-schemas.ts";
import { json, jsonBody, operator, problems } from "./parts.ts";

export const place = createRoute({
  security: operator,
  tags: ["runners"],
  method: "post",
  path: "/placements",
  summary:
    "Picks a runner for a new deployment: the named one, or the least loaded with the labels. If it hasn't the source, " +
    "upload that (PUT /runners/{id}/sources), then deploy with this `runnerId`. Changes nothing",
  request: { body: jsonBody(placementBody) },
  responses: { 200: json(placementView), ...problems },
});
