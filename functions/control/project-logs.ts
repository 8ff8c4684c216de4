import { callProject } from "../projects/call-project.ts";
import { parseHostedLogPage } from "../protocol/runner-api.ts";
import { workspacePaths } from "../protocol/workspace-api.ts";
import { logStream, nextPage, type ReadLog } from "../rollouts/log-stream.ts";
import type { ControlContext } from "./context.ts";
import { lastEventId } from "./last-event-id.ts";
import { controlRouter } from "./openapi.ts";
import { runnerOfProject } from "./projects.ts";
import { read } from "./routes/project-logs.ts";

export const projectLogs = controlRouter().openapi(read, async (c) => {
  const { slug } = c.req.valid("param");
  const { cursor, limit, wait, follow, step } = c.req.valid("query");
  const page = reader(c.env.control, slug, limit, step);
  const { signal } = c.req.raw;
  if (follow === "1") return logStream(page, lastEventId(c.req.raw) ?? cursor, signal);
  return c.json(await nextPage(page, cursor, wait * 1_000, signal), 200);
});

function reader(context: ControlContext, slug: string, limit: number, step: string | undefined): ReadLog {
  return async (cursor, waitMs, signal) => {
    const at = await runnerOfProject(context, slug);
    const wait = Math.ceil(waitMs / 1_000);
    for (let next = cursor; ;) {
      const path = workspacePaths.logs(slug, { cursor: next, limit, wait });
      const page = await callProject(at, "GET", path, parseHostedLogPage, { waitMs, signal });
      const lines = step === undefined ? page.lines : page.lines.filter((line) => line.step === step);
      // A page without any line of this step isn't the end.
      if (lines.length > 0 || page.lines.length === 0) return { ...page, lines, complete: false };
      next = page.cursor;
    }
  };
}
