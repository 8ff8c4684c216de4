import { createRoute, z } from "@hono/zod-openapi";
import { reportSchema, type Report } from "../janitor/report.ts";
import { lastRun, publishedReport, sweep } from "../janitor/sweep.ts";
import { servicesSweep } from "../janitor/sweep-services.ts";
import { controllerOf } from "./context.ts";
import { idempotencyOf } from "./mutation.ts";
import { controlRouter, idempotent, json, jsonBody, operator, problems } from "./openapi.ts";
import { mutateRecorded } from "./recorded-mutation.ts";
import { janitorBody } from "./schemas.ts";

const runJanitor = createRoute({
  security: operator,
  parameters: idempotent,
  tags: ["janitor"],
  method: "post",
  path: "/janitor/run",
  summary: "One run of the janitor now; with `dryRun` it decides and says why, and touches nothing",
  request: { body: jsonBody(janitorBody) },
  responses: { 200: json(reportSchema), ...problems },
});

const lastJanitor = createRoute({
  security: operator,
  tags: ["janitor"],
  method: "get",
  path: "/janitor/last",
  summary: "The last run, and whether it is longer ago than three periods",
  responses: {
    200: json(z.object({ stale: z.boolean(), report: reportSchema.nullable() })),
    ...problems,
  },
});

export const janitor = controlRouter()
  .openapi(runJanitor, async (c) => {
    const { config, env, store, now, waitUntil } = c.env.control;
    const { dryRun } = c.req.valid("json");
    const sweepApp = (name: string, dry: boolean) => controllerOf(env, name).sweep(name, dry);
    const act = (): Promise<Report> =>
      sweep(dryRun, { store, sweepApp, sweepServices: servicesSweep(config, store), now });
    if (dryRun) {
      const run = act();
      // A client that leaves takes its request along, not the run: it would leave the lease behind.
      waitUntil(run.catch(() => undefined));
      return c.json(await run, 200);
    }
    const report = await mutateRecorded(c.env.control, await idempotencyOf(c.req.raw, await c.req.text()), {
      action: "janitor.run",
      act,
      details: ({ outcome, decisions, errors }) => ({
        outcome,
        deletions: decisions.filter(({ action }) => action === "delete").length,
        kept: decisions.filter(({ action }) => action === "keep").length,
        errors: errors.length,
      }),
      remember: { schema: reportSchema, of: publishedReport },
      repeated: (earlier) => earlier,
    });
    return c.json(report, 200);
  })
  .openapi(lastJanitor, async (c) => {
    const { store, now } = c.env.control;
    return c.json(await lastRun(store, now()), 200);
  });
