import { createRoute, z } from "@hono/zod-openapi";
import {
  answerBody,
  answerPath,
  buildBody,
  buildDiff,
  buildPath,
  buildView,
  imageHeaders,
  imageView,
  projectPath,
  undoBody,
  undoView,
} from "../project-schemas.ts";
import {
  idempotent,
  idempotentUpload,
  idempotentWithoutBody,
  json,
  jsonBody,
  noBody,
  operator,
  problems,
} from "./parts.ts";

const common = { security: operator, tags: ["builds"] };

export const create = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/projects/{slug}/builds",
  summary: "Gives the project's agent a prompt. It waits until the builds before it are over",
  request: { params: projectPath, body: jsonBody(buildBody) },
  responses: { 202: json(buildView, "Accepted"), ...problems },
});

export const image = createRoute({
  ...common,
  ...idempotentUpload,
  method: "put",
  path: "/projects/{slug}/images",
  summary:
    "Uploads a PNG, JPEG, GIF or WebP of at most 10 MiB for the `images` of the project's next builds. An Idempotency-Key " +
    "needs `x-signalbox-sha256`",
  request: {
    params: projectPath,
    headers: imageHeaders,
    body: {
      required: true,
      content: { "application/octet-stream": { schema: z.string().openapi({ format: "binary" }) } },
    },
  },
  responses: { 200: json(imageView), ...problems },
});

export const read = createRoute({
  ...common,
  method: "get",
  path: "/builds/{id}",
  summary: "One build",
  request: { params: buildPath },
  responses: { 200: json(buildView), ...problems },
});

export const events = createRoute({
  ...common,
  method: "get",
  path: "/builds/{id}/events",
  summary:
    "The build's events as server-sent events, numbered; resumes by Last-Event-ID and ends with `end`. Its runner needn't be there",
  request: { params: buildPath },
  responses: {
    200: { description: "A stream", content: { "text/event-stream": { schema: z.string() } } },
    204: { description: "The stream was read to its end" },
    ...problems,
  },
});

export const diff = createRoute({
  ...common,
  method: "get",
  path: "/builds/{id}/diff",
  summary: "What the build changed. Its runner must be there",
  request: { params: buildPath },
  responses: { 200: json(buildDiff), ...problems },
});

export const undo = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/projects/{slug}/undo",
  summary:
    "Takes back what a build changed. Files that changed since are named, and never overwritten unasked",
  request: { params: projectPath, body: jsonBody(undoBody) },
  responses: { 200: json(undoView), ...problems },
});

export const cancel = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "post",
  path: "/builds/{id}/cancel",
  summary: "Cancels it; answers when nothing of it runs any more",
  request: { params: buildPath, body: noBody },
  responses: { 200: json(buildView), ...problems },
});

export const answer = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/builds/{id}/answers/{request}",
  summary: "Answers a question of the agent, once",
  request: { params: answerPath, body: jsonBody(answerBody) },
  responses: { 200: json(buildView), ...problems },
});
