import { createRoute, z } from "@hono/zod-openapi";
import { deploymentOf, type AppDocument } from "../apps/app-document.ts";
import { appAnswer, requireApp } from "./apps.ts";
import { controllerOf } from "./context.ts";
import { generateDeploymentId } from "./deployment-id.ts";
import { lastEventId } from "./last-event-id.ts";
import { idempotencyOf, mutate, recall, unknownDeployment, type Answer } from "./mutation.ts";
import { controlRouter, idempotent, json, jsonBody, noBody, operator, problems } from "./openapi.ts";
import {
  appPath,
  appView,
  deploymentBody,
  deploymentPath,
  deploymentView,
  viewDeployment,
  viewDeployments,
} from "./schemas.ts";

const common = { security: operator, tags: ["deployments"] };
const one = { ...common, parameters: idempotent, request: { params: deploymentPath } };

const list = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}/deployments",
  summary: "Deployments of an app, newest first",
  request: { params: appPath },
  responses: { 200: json(z.object({ deployments: z.array(deploymentView) })), ...problems },
});

const create = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/deployments",
  summary: "Rolls out a new deployment and, unless told otherwise, promotes it once it is verified",
  parameters: idempotent,
  request: { params: appPath, body: jsonBody(deploymentBody) },
  responses: { 202: json(deploymentView, "Under way"), ...problems },
});

const read = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}/deployments/{id}",
  summary: "One deployment",
  request: { params: deploymentPath },
  responses: { 200: json(deploymentView), ...problems },
});

const remove = createRoute({
  ...one,
  method: "delete",
  path: "/apps/{app}/deployments/{id}",
  summary: "Has browsers reload, unroutes the deployment and takes its backend away",
  responses: { 202: json(deploymentView, "Under way"), ...problems },
});

const promote = createRoute({
  ...one,
  method: "post",
  path: "/apps/{app}/deployments/{id}/promote",
  summary: "Makes a ready or draining deployment the active one",
  request: { params: deploymentPath, body: noBody },
  responses: { 200: json(deploymentView), ...problems },
});

const redeploy = createRoute({
  ...one,
  method: "post",
  path: "/apps/{app}/deployments/{id}/redeploy",
  summary: "Builds the same deployment again, in place",
  request: { params: deploymentPath, body: noBody },
  responses: { 202: json(deploymentView, "Under way"), ...problems },
});

const rollback = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/rollback",
  summary: "Makes the previous deployment the active one again",
  parameters: idempotent,
  request: { params: appPath, body: noBody },
  responses: { 200: json(appView), ...problems },
});

const events = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}/deployments/{id}/events",
  summary: "Progress as server-sent events: step, log, state; ends with `end`; resumes by Last-Event-ID",
  request: { params: deploymentPath },
  responses: {
    200: { description: "A stream", content: { "text/event-stream": { schema: z.string() } } },
    204: { description: "Everything was sent before" },
    ...problems,
  },
});

export const deployments = controlRouter()
  .openapi(list, async (c) => {
    const { app } = await requireApp(c.env.control, c.req.valid("param").app);
    return c.json({ deployments: viewDeployments(app) }, 200);
  })
  .openapi(create, async (c) => {
    const context = c.env.control;
    const name = c.req.valid("param").app;
    const body = c.req.valid("json");
    const idempotency = await idempotencyOf(c.req.raw, await c.req.text());
    const { app } = await requireApp(context, name);
    const earlier = await recall(context, idempotency, deploymentAnswer(body.id ?? ""));
    if (earlier !== null) return c.json(earlier, 202);
    const target = await context.providers[body.target.kind].place(body.target, app);
    // A generated id differs from call to call; the one that was recorded is the one to answer with.
    const id =
      body.id ?? generateDeploymentId(body.name, new Date(context.now()), Object.keys(app.deployments));
    const command = {
      type: "create",
      id,
      name: body.name,
      target,
      promote: body.promote,
    } as const;
    const answer = deploymentAnswer(id);
    return c.json(await mutate(context, idempotency, name, command, "deployment.create", answer), 202);
  })
  .openapi(read, async (c) => {
    const { app: name, id } = c.req.valid("param");
    const { app } = await requireApp(c.env.control, name);
    return c.json(deploymentAnswer(id).view(app), 200);
  })
  .openapi(remove, async (c) => {
    const { app, id } = c.req.valid("param");
    const command = { type: "retire", id, reason: "deleted" } as const;
    const idempotency = await idempotencyOf(c.req.raw, "");
    const answer = deploymentAnswer(id);
    return c.json(await mutate(c.env.control, idempotency, app, command, "deployment.delete", answer), 202);
  })
  .openapi(promote, async (c) => {
    const { app, id } = c.req.valid("param");
    const command = { type: "promote", id } as const;
    const idempotency = await idempotencyOf(c.req.raw, "");
    const answer = deploymentAnswer(id);
    return c.json(await mutate(c.env.control, idempotency, app, command, "deployment.promote", answer), 200);
  })
  .openapi(redeploy, async (c) => {
    const { app, id } = c.req.valid("param");
    const command = { type: "redeploy", id } as const;
    const idempotency = await idempotencyOf(c.req.raw, "");
    const answer = deploymentAnswer(id);
    return c.json(await mutate(c.env.control, idempotency, app, command, "deployment.redeploy", answer), 202);
  })
  .openapi(rollback, async (c) => {
    const { app } = c.req.valid("param");
    const { stored } = await requireApp(c.env.control, app);
    const idempotency = await idempotencyOf(c.req.raw, "");
    const command = { type: "rollback" } as const;
    return c.json(
      await mutate(c.env.control, idempotency, app, command, "app.rollback", appAnswer(stored)),
      200,
    );
  })
  .openapi(events, async (c) => {
    const { app: name, id } = c.req.valid("param");
    const { app } = await requireApp(c.env.control, name);
    if (!deploymentOf(app, id)) throw unknownDeployment(name, id);
    const lastId = lastEventId(c.req.raw);
    return controllerOf(c.env.control.env, name).fetch(`https://controller/${name}/${id}`, {
      headers: lastId === null ? {} : { "last-event-id": String(lastId) },
    });
  });

function deploymentAnswer(id: string): Answer<z.infer<typeof deploymentView>> {
  return {
    schema: deploymentView,
    view: (next: AppDocument) => {
      const deployment = deploymentOf(next, id);
      if (!deployment) throw unknownDeployment(next.name, id);
      return viewDeployment(next, deployment);
    },
  };
}
