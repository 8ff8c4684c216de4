import { deploymentOf, type AppDocument, type Deployment } from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import { sendSource } from "../providers/railway/source.ts";
import { sourceArchive } from "../runners/source-archive.ts";
import { actThenRecord } from "./act-then-record.ts";
import { requireApp } from "./apps.ts";
import { callController } from "./context.ts";
import { unknownDeployment } from "./commit-change.ts";
import { controlRouter } from "./openapi.ts";
import { put, sentSource } from "./routes/deployment-source.ts";

export const deploymentSource = controlRouter().openapi(put, async (c) => {
  const { config, env, store, waitUntil } = c.env.control;
  const { app: name, id } = c.req.valid("param");
  const look = async (): Promise<{ app: AppDocument; deployment: Deployment }> => {
    const { app } = await requireApp(c.env.control, name);
    const deployment = deploymentOf(app, id);
    if (!deployment) throw unknownDeployment(name, id);
    const why = whyNot(deployment);
    if (why === null) return { app, deployment };
    throw new Problem("source_not_expected", `Deployment ${id} of app ${name} ${why}.`);
  };
  const archive = sourceArchive(c.req.raw);
  const { app, deployment } = await look();
  const built = deployment.resources["railwayDeployment"];
  if (built !== undefined) {
    // Its first answer got lost: Railway builds it already.
    await archive.body.cancel();
    return c.json({ deploymentId: built }, 200);
  }
  const { railway, internalToken } = config;
  if (railway === null) throw new Problem("railway_failed", "The Worker has no Railway token any more.");
  // The client may be here before the controller has begun the rollout.
  waitUntil(callController(env, name, (controller) => controller.reconcile(name)).catch(() => undefined));
  const stillTaken = async (): Promise<void> => void (await look());
  const sent = await actThenRecord(c.env.control, null, {
    action: "deployment.upload",
    app: name,
    subject: { kind: "deployment", id },
    act: () => sendSource({ railway, internalToken, store, app, deployment, stillTaken }, archive),
    details: ({ deploymentId }) => ({ railwayDeployment: deploymentId }),
    remember: { schema: sentSource, of: (answer) => answer },
    repeated: (answer) => answer,
  });
  // Without this the rollout would see it at the next cron sweep.
  waitUntil(callController(env, name, (controller) => controller.hurry(name, id)).catch(() => undefined));
  return c.json(sent, 200);
});

function whyNot({ target, state }: Deployment): string | null {
  if (target.kind !== "railway" || target.upload !== true) {
    return 'isn\'t built from an upload; its target has to be {"kind":"railway","upload":true}';
  }
  return state === "pending" ? null : `is ${state} already: a new source is a new deployment`;
}
