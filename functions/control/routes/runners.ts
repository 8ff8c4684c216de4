import { createRoute, z } from "@hono/zod-openapi";
import {
  cleanupBody,
  cleanupView,
  commandBody,
  commandQuery,
  commandView,
  credentialView,
  drainBody,
  runnerDetails,
  runnerPageQuery,
  runnerPath,
  runnerView,
} from "../runner-schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, noBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["runners"] };

export const list = createRoute({
  ...common,
  method: "get",
  path: "/runners",
  summary: "Runners in alphabetical order",
  request: { query: runnerPageQuery },
  responses: { 200: json(z.object({ runners: z.array(runnerView) })), ...problems },
});

export const read = createRoute({
  ...common,
  method: "get",
  path: "/runners/{id}",
  summary: "One runner, with what its hub knows now",
  request: { params: runnerPath },
  responses: { 200: json(runnerDetails), ...problems },
});

export const remove = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/runners/{id}",
  summary: "Deletes a runner that isn't connected, and its credential",
  request: { params: runnerPath },
  responses: { 200: json(runnerView, "As it was"), ...problems },
});

export const command = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/runners/{id}/commands",
  summary:
    "Sends a command; with `wait`, answers with the event that ends it. A repeat under the same Idempotency-Key " +
    "answers with the command's id only",
  request: { params: runnerPath, query: commandQuery, body: jsonBody(commandBody) },
  responses: { 200: json(commandView), ...problems },
});

export const drain = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/runners/{id}/drain",
  summary: "Drains the runner: it gets no new work and goes on with what it has",
  request: { params: runnerPath, body: jsonBody(drainBody) },
  responses: { 200: json(runnerView), ...problems },
});

export const cleanup = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/runners/{id}/cleanup",
  summary: "Deletes what is over the runner's limits of cleanup, or says what that would be",
  request: { params: runnerPath, body: jsonBody(cleanupBody) },
  responses: { 200: json(cleanupView), ...problems },
});

export const issue = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "post",
  path: "/runners/{id}/credentials",
  summary:
    "Issues the runner's own secret in place of any former one. It is shown once: a repeat under the same " +
    "Idempotency-Key is refused (409 `secret_shown_once`)",
  request: { params: runnerPath, body: noBody },
  responses: { 201: json(credentialView, "Issued"), ...problems },
});

export const revoke = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/runners/{id}/credentials",
  summary: "Revokes the runner's own secret and closes a connection that used it",
  request: { params: runnerPath },
  responses: { 200: json(runnerView), ...problems },
});
