import { z } from "@hono/zod-openapi";
import { newAppDocument, parseAppDocument, type AppConfig, type AppDocument } from "../apps/app-document.ts";
import { applyCommand, commitDocument, hostTaken } from "../apps/commit.ts";
import { Problem } from "../errors.ts";
import { refuseReservedHosts, refuseOperatorName } from "./reserved-hosts.ts";
import type { StoredApp } from "../state/store.ts";
import { APP_ANSWER_KEPT_BYTES } from "../protocol/limits.ts";
import {
  answerAgain,
  commitChange,
  idempotencyRecordOf,
  earlierAnswer,
  unknownApp,
  type ChangeView,
} from "./commit-change.ts";
import { kick, type ControlContext } from "./context.ts";
import type { Idempotency } from "./idempotency.ts";
import { controlRouter } from "./openapi.ts";
import { listApps, readApp, putApp, deleteApp } from "./routes/apps.ts";
import { appView, viewApp } from "./schemas.ts";

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
    const { app } = c.req.valid("param");
    const { created, view } = await put(c.env.control, app, config, isDefault, c.var.idempotency);
    return created ? c.json(view, 201) : c.json(view, 200);
  })
  .openapi(deleteApp, async (c) => {
    const { app } = c.req.valid("param");
    const stored = await c.env.control.store.readApp(app);
    const answer = appChangeView({ isDefault: stored?.isDefault ?? false });
    if (stored === null) {
      // A repetition may come after the app has gone.
      const earlier = await earlierAnswer(c.env.control, c.var.idempotency, answer);
      if (earlier !== null) return c.json(earlier, 202);
      throw unknownApp(app);
    }
    const command = { type: "delete-app" } as const;
    return c.json(
      await commitChange(c.env.control, c.var.idempotency, app, command, "app.delete", answer),
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

export function appChangeView(stored: Pick<StoredApp, "isDefault">): ChangeView<z.infer<typeof appView>> {
  return { schema: appView, view: (next) => viewApp(next, stored), keptBytes: APP_ANSWER_KEPT_BYTES };
}

const putRecord = z.object({ created: z.boolean(), view: appView });

/** Create and replace are two commits. Each can lose a race, and then the other is tried. */
async function put(
  context: ControlContext,
  name: string,
  config: AppConfig,
  isDefault: boolean,
  idempotency: Idempotency,
): Promise<z.infer<typeof putRecord>> {
  const { store, now } = context;
  refuseReservedHosts(context.config, config.hosts);
  const answer = (created: boolean): ChangeView<z.infer<typeof putRecord>> => ({
    schema: putRecord,
    view: (next) => ({ created, view: viewApp(next, { isDefault }) }),
    // An app that was just created is no more than its configuration.
    ...(created ? {} : { keptBytes: APP_ANSWER_KEPT_BYTES }),
  });
  const earlier = await earlierAnswer(context, idempotency, answer(false));
  if (earlier !== null) return earlier;
  /** The version before the app exists: 0, or that of its deletion. No app ever has it, since versions only rise. */
  let before = 0;
  for (let attempt = 0; attempt < 5; attempt++) {
    const replaced = await applyCommand(
      store,
      name,
      { type: "configure", config },
      { actor: context.caller.actor, action: "app.configure" },
      { now, isDefault, idempotencyRecord: idempotencyRecordOf(idempotency, answer(false)) },
    );
    if (replaced.kind === "applied") {
      kick(context, name);
      return answer(false).view(replaced.app);
    }
    if (replaced.kind === "repeated") return answerAgain(context, replaced, idempotency, answer(false));
    if (replaced.kind === "refused") throw new Problem(replaced.refusal.code, replaced.refusal.message);
    refuseOperatorName(context.config, name);
    const fresh = newAppDocument(name, config, now(), before + 1);
    const created = await commitDocument(store, fresh, before, {
      author: { actor: context.caller.actor, action: "app.create" },
      details: { hosts: config.hosts.join(" ") },
      isDefault,
      idempotencyRecord: idempotencyRecordOf(idempotency, answer(true)),
    });
    if (created.outcome === "committed") return answer(true).view(fresh);
    if (created.outcome === "repeated")
      return answerAgain(context, created.record, idempotency, answer(false));
    if (created.outcome === "host_taken") throw hostTaken(created);
    before = created.version;
  }
  throw new Problem("version_conflict", `App ${name} is being created and deleted by others. Try again.`);
}
