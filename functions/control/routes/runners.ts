import { createRoute, z } from "@hono/zod-openapi";
import {
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
  summary: "One runner, with what its hub knows at this moment",
  request: { params: runnerPath },
  responses: { 200: json(runnerDetails), ...problems },
});

export const remove = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/runners/{id}",
  summary: "Forgets a runner that isn't connected, and its credential",
  request: { params: runnerPath },
  responses: { 200: json(runnerView, "As it was"), ...problems },
});

export const command = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/runners/{id}/commands",
  summary:
    "Sends a command; with `wait` answers with the event that it ends with. A repetition under the same " +
    "Idempotency-Key answers with the command's id alone",
  request: { params: runnerPath, query: commandQuery, body: jsonBody(commandBody) },
  responses: { 200: json(commandView), ...problems },
});

export const drain = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/runners/{id}/drain",
  summary: "Gives the runner nothing new; what it has goes on",
  request: { params: runnerPath, body: jsonBody(drainBody) },
  responses: { 200: json(runnerView), ...problems },
});

export const issue = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "post",
  path: "/runners/{id}/credentials",
  summary:
    "A secret of the runner's own, in place of any former one; shown this once, so that a repetition under the same " +
    "Idempotency-Key is refused (409 `secret_shown_once`)",
  request: { params: runnerPath, body: noBody },
  responses: { 201: json(credentialView, "Issued"), ...problems },
});

export const revoke = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/runners/{id}/credentials",
  summary: "Revokes the runner's own secret and ends a connection that was made with it",
  request: { params: runnerPath },
  responses: { 200: json(runnerView), ...problems },
});
