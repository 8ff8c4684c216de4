import { deploymentOf } from "../apps/app-document.ts";
import { logStream, nextPage, type ReadLog } from "../rollouts/log-stream.ts";
import { requireApp } from "./apps.ts";
import type { ControlContext } from "./context.ts";
import { lastEventId } from "./last-event-id.ts";
import { unknownDeployment } from "./commit-change.ts";
import { controlRouter } from "./openapi.ts";
import { read } from "./routes/logs.ts";

export const logs = controlRouter().openapi(read, async (c) => {
  const { app, id } = c.req.valid("param");
  const { cursor, limit, wait, follow } = c.req.valid("query");
  const page = reader(c.env.control, app, id, limit);
  const { signal } = c.req.raw;
  if (follow === "1") return logStream(page, lastEventId(c.req.raw) ?? cursor, signal);
  return c.json(await nextPage(page, cursor, wait * 1_000, signal), 200);
});

/** After an empty page it reads the deployment again: it may have ended. */
function reader(context: ControlContext, name: string, id: string, limit: number): ReadLog {
  const look = async () => {
    const { app } = await requireApp(context, name);
    const deployment = deploymentOf(app, id);
    if (!deployment) throw unknownDeployment(name, id);
    return { app, deployment };
  };
  let known: Awaited<ReturnType<typeof look>> | null = null;
  return async (cursor, waitMs, signal) => {
    const { app, deployment } = (known ??= await look());
    const provider = context.providers[deployment.target.kind];
    known = null;
    const page = await provider.logs(deployment, app, { cursor, limit, waitMs, signal });
    if (page.lines.length > 0) known = { app, deployment };
    return page;
  };
}
