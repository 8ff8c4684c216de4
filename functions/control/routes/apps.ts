import { createRoute, z } from "@hono/zod-openapi";
import { appBody, appPath, appView, pageQuery } from "../schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["apps"] };

export const listApps = createRoute({
  ...common,
  method: "get",
  path: "/apps",
  summary: "Apps in alphabetical order",
  request: { query: pageQuery },
  responses: { 200: json(z.object({ apps: z.array(appView) })), ...problems },
});

export const readApp = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}",
  summary: "One app with its deployments",
  request: { params: appPath },
  responses: { 200: json(appView), ...problems },
});

export const putApp = createRoute({
  ...common,
  method: "put",
  path: "/apps/{app}",
  summary: "Creates an app, or replaces its whole configuration",
  ...idempotent,
  request: { params: appPath, body: jsonBody(appBody) },
  responses: { 200: json(appView, "Replaced"), 201: json(appView, "Created"), ...problems },
});

export const deleteApp = createRoute({
  ...common,
  method: "delete",
  path: "/apps/{app}",
  summary: "Deletes an app and its deployments",
  ...idempotentWithoutBody,
  request: { params: appPath },
  responses: { 202: json(appView, "Under way"), ...problems },
});
