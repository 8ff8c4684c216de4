import { createRoute, z } from "@hono/zod-openapi";
import { projectPath } from "../project-schemas.ts";
import {
  deletedView,
  fileBody,
  filePath,
  fileQuery,
  filesQuery,
  filesView,
  fileView,
  foundView,
  searchQuery,
  writtenView,
} from "../workspace-schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["projects"] };

export const list = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/files",
  summary: "A directory of the project; without `path`, the project itself",
  request: { params: projectPath, query: filesQuery },
  responses: { 200: json(filesView), ...problems },
});

export const read = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/files/{path}",
  summary: "A file of at most 2 MiB, as text if it is UTF-8. The path's slashes may be encoded",
  request: { params: filePath, query: fileQuery },
  responses: { 200: json(fileView), ...problems },
});

export const write = createRoute({
  ...common,
  ...idempotent,
  method: "put",
  path: "/projects/{slug}/files/{path}",
  summary: "Writes a file of at most 2 MiB, with the directories on its way",
  request: { params: filePath, body: jsonBody(fileBody) },
  responses: { 200: json(writtenView), ...problems },
});

export const remove = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/projects/{slug}/files/{path}",
  summary: "Deletes a file, or a directory with all that is in it",
  request: { params: filePath },
  responses: { 200: json(deletedView), ...problems },
});

export const search = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/search",
  summary: "Files by name, or lines by text; packages, caches and .git are left out",
  request: { params: projectPath, query: searchQuery },
  responses: { 200: json(foundView), ...problems },
});

export const changes = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/changes",
  summary:
    "What changes in the project's files from now on, as server-sent events: `ready`, then `files` with " +
    "`changed` and `deleted` paths. What changes between two connections isn't told: list again",
  request: { params: projectPath },
  responses: {
    200: { description: "A stream", content: { "text/event-stream": { schema: z.string() } } },
    ...problems,
  },
});
