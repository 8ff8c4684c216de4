import { createRoute, z } from "@hono/zod-openapi";
import {
  deletionQuery,
  linkBody,
  linkView,
  projectBody,
  projectChange,
  projectCreated,
  projectDeleted,
  projectDetails,
  projectPageQuery,
  projectPath,
  projectView,
} from "../project-schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, noBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["projects"] };

export const list = createRoute({
  ...common,
  method: "get",
  path: "/projects",
  summary: "Projects in alphabetical order",
  request: { query: projectPageQuery },
  responses: { 200: json(z.object({ projects: z.array(projectView) })), ...problems },
});

export const create = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/projects",
  summary: "Makes a project on a runner, and begins its first build if there is a prompt",
  request: { body: jsonBody(projectBody) },
  responses: { 201: json(projectCreated, "Made"), ...problems },
});

export const read = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}",
  summary: "One project, with what its runner says now",
  request: { params: projectPath },
  responses: { 200: json(projectDetails), ...problems },
});

export const change = createRoute({
  ...common,
  ...idempotent,
  method: "patch",
  path: "/projects/{slug}",
  summary: "Renames it, or makes its preview public or private",
  request: { params: projectPath, body: jsonBody(projectChange) },
  responses: { 200: json(projectView), ...problems },
});

export const remove = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/projects/{slug}",
  summary:
    "Deletes it with its files, processes, logs, builds and previews; its files stay with `files=keep`. Its runner must be there",
  request: { params: projectPath, query: deletionQuery },
  responses: { 200: json(projectDeleted, "As it was"), ...problems },
});

export const startServer = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "post",
  path: "/projects/{slug}/dev-server",
  summary: "Starts the dev server and doesn't wait for it",
  request: { params: projectPath, body: noBody },
  responses: { 202: json(projectDetails, "On its way"), ...problems },
});

export const stopServer = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/projects/{slug}/dev-server",
  summary: "Stops the dev server; the next visit of the preview starts it again",
  request: { params: projectPath },
  responses: { 200: json(projectDetails), ...problems },
});

export const share = createRoute({
  ...common,
  method: "post",
  path: "/projects/{slug}/preview",
  summary: "Makes a link that opens the private preview for a time",
  request: { params: projectPath, body: jsonBody(linkBody) },
  responses: { 201: json(linkView, "Made"), ...problems },
});

export const revoke = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/projects/{slug}/preview",
  summary: "Revokes every link of the preview, and lets nobody in who came by one",
  request: { params: projectPath },
  responses: { 200: json(projectView), ...problems },
});
