import type { z } from "@hono/zod-openapi";
import { callProject } from "../projects/call-project.ts";
import { parseProjectEnv } from "../protocol/project-env.ts";
import { workspacePaths } from "../protocol/workspace-api.ts";
import { actThenRecord } from "./act-then-record.ts";
import { controlRouter } from "./openapi.ts";
import { runnerOfProject } from "./projects.ts";
import * as routes from "./routes/project-env.ts";
import { envView } from "./workspace-schemas.ts";

export const projectEnv = controlRouter()
  .openapi(routes.list, async (c) => {
    const { slug } = c.req.valid("param");
    const at = await runnerOfProject(c.env.control, slug);
    return c.json(await callProject(at, "GET", workspacePaths.env(slug), parseProjectEnv), 200);
  })
  .openapi(routes.set, async (c) => {
    const context = c.env.control;
    const { slug } = c.req.valid("param");
    const body = c.req.valid("json");
    const answer = await actThenRecord(context, c.var.idempotency, {
      ...asEnv(slug, "project.set-env"),
      act: async () => {
        const at = await runnerOfProject(context, slug);
        return callProject(at, "PUT", workspacePaths.env(slug), parseProjectEnv, { body });
      },
      details: () => ({ variables: body.variables.map(({ name }) => name).join(" ") }),
    });
    return c.json(answer, 200);
  })
  .openapi(routes.unset, async (c) => {
    const context = c.env.control;
    const { slug, name } = c.req.valid("param");
    const answer = await actThenRecord(context, c.var.idempotency, {
      ...asEnv(slug, "project.unset-env"),
      act: async () => {
        const at = await runnerOfProject(context, slug);
        return callProject(at, "DELETE", workspacePaths.variable(slug, name), parseProjectEnv);
      },
      details: () => ({ variables: name }),
    });
    return c.json(answer, 200);
  });

type Env = z.infer<typeof envView>;

/** A change whose answer is the names of what is set. */
const asEnv = (id: string, action: string) => ({
  subject: { kind: "project" as const, id },
  action,
  remember: { schema: envView, of: (env: Env) => env },
  repeated: (env: Env) => env,
});
