import type { z } from "@hono/zod-openapi";
import { callProject } from "../projects/call-project.ts";
import { parseGitDiff, parseGitState } from "../protocol/project-git.ts";
import { workspacePaths } from "../protocol/workspace-api.ts";
import { actThenRecord } from "./act-then-record.ts";
import type { ControlContext } from "./context.ts";
import type { Idempotency } from "./idempotency.ts";
import { controlRouter } from "./openapi.ts";
import { runnerOfProject } from "./projects.ts";
import * as routes from "./routes/project-git.ts";
import { gitView } from "./workspace-schemas.ts";

/** The runner gives up a transfer after four minutes. */
const GIT_WAIT_MS = 5 * 60_000;

type Git = z.infer<typeof gitView>;

export const projectGit = controlRouter()
  .openapi(routes.status, async (c) => {
    const { slug } = c.req.valid("param");
    const at = await runnerOfProject(c.env.control, slug);
    return c.json(await callProject(at, "GET", workspacePaths.git(slug), parseGitState), 200);
  })
  .openapi(routes.configure, async (c) => {
    const { slug } = c.req.valid("param");
    const change = { method: "PUT", path: workspacePaths.git(slug), body: c.req.valid("json") };
    return c.json(await act(c.env.control, c.var.idempotency, slug, "project.set-remote", change), 200);
  })
  .openapi(routes.init, async (c) => {
    const { slug } = c.req.valid("param");
    const change = { method: "POST", path: workspacePaths.gitAct(slug, "init") };
    return c.json(await act(c.env.control, c.var.idempotency, slug, "project.git-init", change), 200);
  })
  .openapi(routes.commit, async (c) => {
    const { slug } = c.req.valid("param");
    const change = { method: "POST", path: workspacePaths.gitAct(slug, "commit"), body: c.req.valid("json") };
    return c.json(await act(c.env.control, c.var.idempotency, slug, "project.git-commit", change), 200);
  })
  .openapi(routes.push, async (c) => {
    const { slug } = c.req.valid("param");
    const { message = null } = c.req.valid("json");
    const change = { method: "POST", path: workspacePaths.gitAct(slug, "push"), body: { message } };
    return c.json(await act(c.env.control, c.var.idempotency, slug, "project.git-push", change), 200);
  })
  .openapi(routes.sync, async (c) => {
    const { slug } = c.req.valid("param");
    const change = { method: "POST", path: workspacePaths.gitAct(slug, "sync") };
    return c.json(await act(c.env.control, c.var.idempotency, slug, "project.git-sync", change), 200);
  })
  .openapi(routes.diff, async (c) => {
    const { slug } = c.req.valid("param");
    const at = await runnerOfProject(c.env.control, slug);
    return c.json(await callProject(at, "GET", workspacePaths.diff(slug), parseGitDiff), 200);
  });

function act(
  context: ControlContext,
  idempotency: Idempotency,
  slug: string,
  action: string,
  { method, path, body }: { method: string; path: string; body?: unknown },
): Promise<Git> {
  return actThenRecord<Git, Git>(context, idempotency, {
    subject: { kind: "project", id: slug },
    action,
    act: async () => {
      const at = await runnerOfProject(context, slug);
      const options = { waitMs: GIT_WAIT_MS, ...(body !== undefined && { body }) };
      return callProject(at, method, path, parseGitState, options);
    },
    details: ({ remote, branch, commit }) => ({ remote, branch, commit }),
    // A thousand paths are more than is kept of an answer.
    remember: { schema: gitView, of: (answer) => ({ ...answer, changes: [], truncated: true }) },
    repeated: (answer) => answer,
  });
}
