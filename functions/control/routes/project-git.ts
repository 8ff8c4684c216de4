import { createRoute } from "@hono/zod-openapi";
import { projectPath } from "../project-schemas.ts";
import { commitBody, diffView, gitBody, gitView, pushBody } from "../workspace-schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, noBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["projects"] };

export const status = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/git",
  summary: "The project's repository: its last commit, what changed since, its remote and the last push",
  request: { params: projectPath },
  responses: { 200: json(gitView), ...problems },
});

export const configure = createRoute({
  ...common,
  ...idempotent,
  method: "put",
  path: "/projects/{slug}/git",
  summary: "Sets the remote, its branch, and whether a build is followed by a push",
  request: { params: projectPath, body: jsonBody(gitBody) },
  responses: { 200: json(gitView), ...problems },
});

export const init = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "post",
  path: "/projects/{slug}/git/init",
  summary: "Makes a repository of the project, unless it is one",
  request: { params: projectPath, body: noBody },
  responses: { 200: json(gitView), ...problems },
});

export const commit = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/projects/{slug}/git/commit",
  summary: "Commits everything that isn't ignored",
  request: { params: projectPath, body: jsonBody(commitBody) },
  responses: { 200: json(gitView), ...problems },
});

export const push = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/projects/{slug}/git/push",
  summary: "Pushes to the remote's branch, never by force; with a message, commits everything first",
  request: { params: projectPath, body: jsonBody(pushBody) },
  responses: { 200: json(gitView), ...problems },
});

export const sync = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "post",
  path: "/projects/{slug}/git/sync",
  summary: "Merges the remote's branch; a conflict changes nothing (409 `git_conflict`)",
  request: { params: projectPath, body: noBody },
  responses: { 200: json(gitView), ...problems },
});

export const diff = createRoute({
  ...common,
  method: "get",
  path: "/projects/{slug}/git/diff",
  summary: "What changed since the last commit, new files too; 256 KiB at most",
  request: { params: projectPath },
  responses: { 200: json(diffView), ...problems },
});
