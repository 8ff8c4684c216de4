import { createRoute } from "@hono/zod-openapi";
import { runnerAgentsView, runnerPath } from "../runner-schemas.ts";
import { json, operator, problems } from "./parts.ts";

export const read = createRoute({
  security: operator,
  tags: ["runners"],
  method: "get",
  path: "/runners/{id}/agents",
  summary: "The agents that the runner can start, and what keeps the others from running",
  request: { params: runnerPath },
  responses: { 200: json(runnerAgentsView), ...problems },
});
