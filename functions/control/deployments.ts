import type { z } from "@hono/zod-openapi";
import { deploymentOf, type AppDocument } from "../apps/app-document.ts";
import { appChangeView, requireApp } from "./apps.ts";
import { callController } from "./context.ts";
import { generateDeploymentId } from "./deployment-id.ts";
import { lastEventId } from "./last-event-id.ts";
import { commitChange, earlierAnswer, unknownDeployment, type ChangeView } from "./commit-change.ts";
import { controlRouter } from "./openapi.ts";
import { list, create, read, remove, promote, redeploy, rollback, events } from "./routes/deployments.ts";
import { deploymentView, viewDeployment, viewDeployments } from "./schemas.ts";

export const deployments = controlRouter()
  .openapi(list, async (c) => {
    const { app } = await requireApp(c.env.control, c.req.valid("param").app);
    return c.json({ deployments: viewDeployments(app) }, 200);
  })
  .openapi(create, async (c) => {
    const context = c.env.control;
    const name = c.req.valid("param").app;
    const body = c.req.valid("json");
    const { idempotency } = c.var;
    const { app } = await requireApp(context, name);
    const earlier = await earlierAnswer(context, idempotency, deploymentChangeView(body.id ?? ""));
    if (earlier !== null) return c.json(earlier, 202);
    const target = await context.providers[body.target.kind].place(body.target, app);
    // A repeat generates another id, but answers with the recorded one.
    const id =
      body.id ?? generateDeploymentId(body.name, new Date(context.now()), Object.keys(app.deployments));
    const command = {
      type: "create",
      id,
      name: body.name,
      target,
      promote: body.promote,
    } as const;
    const answer = deploymentChangeView(id);
    return c.json(await commitChange(context, idempotency, name, command, "deployment.create", answer), 202);
  })
  .openapi(read, async (c) => {
    const { app: name, id } = c.req.valid("param");
    const { app } = await requireApp(c.env.control, name);
    return c.json(deploymentChangeView(id).view(app), 200);
  })
  .openapi(remove, async (c) => {
    const { app, id } = c.req.valid("param");
    const command = { type: "retire", id, reason: "deleted" } as const;
    const { idempotency } = c.var;
    const answer = deploymentChangeView(id);
    return c.json(
      await commitChange(c.env.control, idempotency, app, command, "deployment.delete", answer),
      202,
    );
  })
  .openapi(promote, async (c) => {
    const { app, id } = c.req.valid("param");
    const command = { type: "promote", id } as const;
    const { idempotency } = c.var;
    const answer = deploymentChangeView(id);
    return c.json(
      await commitChange(c.env.control, idempotency, app, command, "deployment.promote", answer),
      200,
    );
  })
  .openapi(redeploy, async (c) => {
    const { app, id } = c.req.valid("param");
    const command = { type: "redeploy", id } as const;
    const { idempotency } = c.var;
    const answer = deploymentChangeView(id);
    return c.json(
      await commitChange(c.env.control, idempotency, app, command, "deployment.redeploy", answer),
      202,
    );
  })
  .openapi(rollback, async (c) => {
    const { app } = c.req.valid("param");
    const { stored } = await requireApp(c.env.control, app);
    const { idempotency } = c.var;
    const command = { type: "rollback" } as const;
    return c.json(
      await commitChange(c.env.control, idempotency, app, command, "app.rollback", appChangeView(stored)),
      200,
    );
  })
  .openapi(events, async (c) => {
    const { app: name, id } = c.req.valid("param");
    const { app } = await requireApp(c.env.control, name);
    if (!deploymentOf(app, id)) throw unknownDeployment(name, id);
    const lastId = lastEventId(c.req.raw);
    const headers: Record<string, string> = lastId === null ? {} : { "last-event-id": String(lastId) };
    return callController(c.env.control.env, name, (controller) =>
      controller.fetch(`https://controller/${name}/${id}`, { headers }),
    );
  });

function deploymentChangeView(id: string): ChangeView<z.infer<typeof deploymentView>> {
  return {
    schema: deploymentView,
    view: (next: AppDocument) => {
      const deployment = deploymentOf(next, id);
      if (!deployment) throw unknownDeployment(next.name, id);
      return viewDeployment(next, deployment);
    },
  };
}
