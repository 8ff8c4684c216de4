import { createRoute } from "@hono/zod-openapi";
import { projectPath } from "../project-schemas.ts";
import { envBody, envView, variablePath } from "../workspace-schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["projects"] };

export const list = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/env",
  summary: "The project's environment variables, without their values",
  request: { params: projectPath },
  responses: { 200: json(envView), ...problems },
});

export const set = createRoute({
  ...common,
  ...idempotent,
  method: "put",
  path: "/projects/{slug}/env",
  summary:
    "Sets these variables and leaves the others. They are kept on the runner; what is started from now on gets them",
  request: { params: projectPath, body: jsonBody(envBody) },
  responses: { 200: json(envView), ...problems },
});

export const unset = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/projects/{slug}/env/{name}",
  summary: "Unsets a variable, also when there is none",
  request: { params: variablePath },
  responses: { 200: json(envView), ...problems },
});
