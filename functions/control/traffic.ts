import { createRoute } from "@hono/zod-openapi";
import type { Command } from "../apps/command.ts";
import { appAnswer, requireApp } from "./apps.ts";
import type { ControlContext } from "./context.ts";
import { idempotencyOf, mutate } from "./mutation.ts";
import { controlRouter, idempotent, json, jsonBody, noBody, operator, problems } from "./openapi.ts";
import { appPath, appView, canaryBody, minimumBody, pauseBody } from "./schemas.ts";

const common = { security: operator, tags: ["traffic"], parameters: idempotent };
const responses = { 200: json(appView), ...problems };

const setCanary = createRoute({
  ...common,
  method: "put",
  path: "/apps/{app}/canary",
  summary: "Sends a share of new visitors to a ready deployment",
  request: { params: appPath, body: jsonBody(canaryBody) },
  responses,
});

const clearCanary = createRoute({
  ...common,
  method: "delete",
  path: "/apps/{app}/canary",
  summary: "Sends all new visitors to the active deployment again",
  request: { params: appPath },
  responses,
});

const pause = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/pause",
  summary: "Holds or refuses all of the app's requests",
  request: { params: appPath, body: jsonBody(pauseBody) },
  responses,
});

const resume = createRoute({
  ...common,
  method: "post",
  path: "/apps/{app}/resume",
  summary: "Lets requests through again, those that were held first",
  request: { params: appPath, body: noBody },
  responses,
});

const setMinimum = createRoute({
  ...common,
  method: "put",
  path: "/apps/{app}/minimum",
  summary: "Makes pins to older deployments stale, whatever their state",
  request: { params: appPath, body: jsonBody(minimumBody) },
  responses,
});

export const traffic = controlRouter()
  .openapi(setCanary, async (c) => {
    const command = { type: "set-canary", ...c.req.valid("json") } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.canary"), 200);
  })
  .openapi(clearCanary, async (c) => {
    const command = { type: "clear-canary" } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.canary-clear"), 200);
  })
  .openapi(pause, async (c) => {
    const { mode = "hold", ...rest } = c.req.valid("json");
    const command = { type: "pause", mode, ...rest } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.pause"), 200);
  })
  .openapi(resume, async (c) => {
    const command = { type: "resume" } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.resume"), 200);
  })
  .openapi(setMinimum, async (c) => {
    const command = { type: "set-minimum", id: c.req.valid("json").id } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.minimum"), 200);
  });

async function change(
  c: { env: { control: ControlContext }; req: { raw: Request; text: () => Promise<string> } },
  app: string,
  command: Command,
  action: string,
) {
  const idempotency = await idempotencyOf(c.req.raw, await c.req.text());
  const { stored } = await requireApp(c.env.control, app);
  return mutate(c.env.control, idempotency, app, command, action, appAnswer(stored));
}
