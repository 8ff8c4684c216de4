import { createRoute } from "@hono/zod-openapi";
import { appPath, appView, canaryBody, minimumBody, pauseBody } from "../schemas.ts";
import { idempotent, json, jsonBody, noBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["traffic"], ...idempotent };
const responses = { 200: json(appView), ...problems };

export const setCanary = createRoute({
  ...common,
  method: "put",
  path: "/apps/{app}/canary",
  summary: "Sends a share of new visitors to a ready deployment, or to a draining one, which it un-drains",
  request: { params: appPath, body: jsonBody(canaryBody) },
  responses,
});

export const clearCanary = createRoute({
  ...common,
  method: "delete",
  path: "/apps/{app}/canary",
  summary: "Sends all new visitors to the active deployment again",
  request: { params: appPath },
  responses,
});

export const pause = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/pause",
  summary: "Holds or refuses all of the app's requests",
  request: { params: appPath, body: jsonBody(pauseBody) },
  responses,
});

export const resume = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/resume",
  summary: "Lets requests through again, those that were held first",
  request: { params: appPath, body: noBody },
  responses,
});

export const setMinimum = createRoute({
  ...common,
  method: "put",
  path: "/apps/{app}/minimum",
  summary: "Makes pins to older deployments stale, whatever their state",
  request: { params: appPath, body: jsonBody(minimumBody) },
  responses,
});
