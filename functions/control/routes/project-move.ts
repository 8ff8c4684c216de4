import { createRoute, z } from "@hono/zod-openapi";
import { projectCreated, projectPath } from "../project-schemas.ts";
import { moveBody } from "../workspace-schemas.ts";
import { idempotent, json, jsonBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["projects"] };

export const exported = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/export",
  summary: "The project as a gzipped tar, with its repository, and without packages, caches and variables",
  request: { params: projectPath },
  responses: {
    200: {
      description: "The archive",
      content: { "application/gzip": { schema: z.string().openapi({ format: "binary" }) } },
    },
    ...problems,
  },
});

export const move = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/projects/{slug}/move",
  summary:
    "Moves the project with its variables and its remote to another runner, and begins a build there that installs and " +
    "starts it. Until the copy is whole, the project stays where it is. Its builds so far don't go along",
  request: { params: projectPath, body: jsonBody(moveBody) },
  responses: { 200: json(projectCreated), ...problems },
});
