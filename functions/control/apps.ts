import { createRoute, z } from "@hono/zod-openapi";
import { newAppDocument, parseAppDocument, type AppConfig, type AppDocument } from "../apps/app-document.ts";
import { applyCommand, commitDocument, hostTaken } from "../apps/commit.ts";
import { Problem } from "../errors.ts";
import type { StoredApp } from "../state/store.ts";
import { kick, type ControlContext } from "./context.ts";
import {
  idempotencyOf,
  mutate,
  operationOf,
  OPERATOR,
  recall,
  replay,
  unknownApp,
  type Answer,
  type Idempotency,
} from "./mutation.ts";
import { controlRouter, idempotent, json, jsonBody, operator, problems } from "./openapi.ts";
import { appBody, appPath, appView, pageQuery, viewApp } from "./schemas.ts";

const common = { security: operator, tags: ["apps"] };

const listApps = createRoute({
  ...common,
  method: "get",
  path: "/apps",
  summary: "Apps in alphabetical order",
  request: { query: pageQuery },
  responses: { 200: json(z.object({ apps: z.array(appView) })), ...problems },
});

const readApp = createRoute({
  ...common,
  method: "get",
  path: "/apps/{app}",
  summary: "One app with its deployments",
  request: { params: appPath },
  responses: { 200: json(appView), ...problems },
});

const putApp = createRoute({
  ...common,
  method: "put",
  path: "/apps/{app}",
  summary: "Creates an app, or replaces its configuration whole",
  parameters: idempotent,
  request: { params: appPath, body: jsonBody(appBody) },
  responses: { 200: json(appView, "Replaced"), 201: json(appView, "Created"), ...problems },
});

const deleteApp = createRoute({
  ...common,
  method: "delete",
  path: "/apps/{app}",
  summary: "Retires all deployments of an app, then forgets it",
  parameters: idempotent,
  request: { params: appPath },
  responses: { 202: json(appView, "Under way"), ...problems },
});

export const apps = controlRouter()
  .openapi(listApps, async (c) => {
    const { store } = c.env.control;
    const { after, limit } = c.req.valid("query");
    const names = await store.listApps({ after: after ?? null, limit });
    const stored = await Promise.all(names.map((name) => store.readApp(name)));
    const views = stored.filter((app) => app !== null).map((app) => viewApp(parseAppDocument(app.body), app));
    return c.json({ apps: views }, 200);
  })
  .openapi(readApp, async (c) => {
    const { stored, app } = await requireApp(c.env.control, c.req.valid("param").app);
    return c.json(viewApp(app, stored), 200);
  })
  .openapi(putApp, async (c) => {
    const { default: isDefault, ...config } = c.req.valid("json");
    const idempotency = await idempotencyOf(c.req.raw, await c.req.text());
    const { created, view } = await put(
      c.env.control,
      c.req.valid("param").app,
      config,
      isDefault,
      idempotency,
    );
    return created ? c.json(view, 201) : c.json(view, 200);
  })
  .openapi(deleteApp, async (c) => {
    const { app } = c.req.valid("param");
    const idempotency = await idempotencyOf(c.req.raw, "");
    const { stored } = await requireApp(c.env.control, app);
    const command = { type: "delete-app" } as const;
    return c.json(
      await mutate(c.env.control, idempotency, app, command, "app.delete", appAnswer(stored)),
      202,
    );
  });

export async function requireApp(
  context: ControlContext,
  name: string,
): Promise<{ stored: StoredApp; app: AppDocument }> {
  const stored = await context.store.readApp(name);
  if (stored === null) throw unknownApp(name);
  return { stored, app: parseAppDocument(stored.body) };
}

export function appAnswer(stored: Pick<StoredApp, "isDefault">): Answer<z.infer<typeof appView>> {
  return { schema: appView, view: (next) => viewApp(next, stored) };
}

const putRecord = z.object({ created: z.boolean(), view: appView });

/** Create and replace are two commits, and either can lose a race to the other: then it is the other one's turn. */
async function put(
  context: ControlContext,
  name: string,
  config: AppConfig,
  isDefault: boolean,
  idempotency: Idempotency,
): Promise<z.infer<typeof putRecord>> {
  const { store, now } = context;
  const answer = (created: boolean): Answer<z.infer<typeof putRecord>> => ({
    schema: putRecord,
    view: (next) => ({ created, view: viewApp(next, { isDefault }) }),
  });
  const earlier = await recall(context, idempotency, answer(true));
  if (earlier !== null) return earlier;
  /** Of nothing: 0, or the deletion of an app of this name. Versions never return, so it is never that of an app. */
  let before = 0;
  for (let attempt = 0; attempt < 5; attempt++) {
    const replaced = await applyCommand(
      store,
      name,
      { type: "configure", config },
      { actor: OPERATOR, action: "app.configure" },
      { now, isDefault, operation: operationOf(idempotency, answer(false)) },
    );
    if (replaced.kind === "applied") {
      kick(context, name);
      return answer(false).view(replaced.app);
    }
    if (replaced.kind === "repeated") return replay(replaced, idempotency, answer(false));
    if (replaced.kind === "refused") throw new Problem(replaced.refusal.code, replaced.refusal.message);
    const fresh = newAppDocument(name, config, now(), before + 1);
    const created = await commitDocument(store, fresh, before, {
      author: { actor: OPERATOR, action: "app.create" },
      details: { hosts: config.hosts.join(" ") },
      isDefault,
      operation: operationOf(idempotency, answer(true)),
    });
    if (created.outcome === "committed") return answer(true).view(fresh);
    if (created.outcome === "repeated") return replay(created.record, idempotency, answer(true));
    if (created.outcome === "host_taken") throw hostTaken(created);
    before = created.version;
  }
  throw new Problem("version_conflict", `App ${name} is being created and deleted by others. Try again.`);
}
