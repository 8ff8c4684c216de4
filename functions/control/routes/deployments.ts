import { createRoute, z } from "@hono/zod-openapi";
import {
  appPath,
  appView,
  deploymentBody,
  deploymentDetails,
  deploymentPath,
  deploymentView,
} from "../schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, noBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["deployments"] };
const one = { ...common, ...idempotentWithoutBody, request: { params: deploymentPath } };

export const list = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}/deployments",
  summary: "Deployments of an app, newest first",
  request: { params: appPath },
  responses: { 200: json(z.object({ deployments: z.array(deploymentView) })), ...problems },
});

export const create = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/deployments",
  summary: "Rolls out a new deployment and promotes it once it is verified, unless `promote` is false",
  ...idempotent,
  request: { params: appPath, body: jsonBody(deploymentBody) },
  responses: { 202: json(deploymentView, "Under way"), ...problems },
});

export const read = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}/deployments/{id}",
  summary: "One deployment",
  request: { params: deploymentPath },
  responses: { 200: json(deploymentDetails), ...problems },
});

export const remove = createRoute({
  ...one,
  method: "delete",
  path: "/apps/{app}/deployments/{id}",
  summary: "Deletes a deployment: tells its browsers to reload, unroutes it, removes its backend",
  responses: { 202: json(deploymentView, "Under way"), ...problems },
});

export const promote = createRoute({
  ...one,
  method: "post",
  path: "/apps/{app}/deployments/{id}/promote",
  summary: "Makes a ready or draining deployment the active one",
  request: { params: deploymentPath, body: noBody },
  responses: { 200: json(deploymentView), ...problems },
});

export const redeploy = createRoute({
  ...one,
  method: "post",
  path: "/apps/{app}/deployments/{id}/redeploy",
  summary: "Builds the same deployment again, in place",
  request: { params: deploymentPath, body: noBody },
  responses: { 202: json(deploymentView, "Under way"), ...problems },
});

export const rollback = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/rollback",
  summary: "Makes the previous deployment the active one again",
  ...idempotentWithoutBody,
  request: { params: appPath, body: noBody },
  responses: { 200: json(appView), ...problems },
});

export const events = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}/deployments/{id}/events",
  summary: "Progress as server-sent events: step, log, state; ends with `end`; resumes by Last-Event-ID",
  request: { params: deploymentPath },
  responses: {
    200: { description: "A stream", content: { "text/event-stream": { schema: z.string() } } },
    204: { description: "Everything after Last-Event-ID was sent already" },
    ...problems,
  },
});
