import { reportSchema, type Report } from "../janitor/report.ts";
import { lastRun, reportWithin, sweep } from "../janitor/sweep.ts";
import { servicesSweep } from "../janitor/sweep-services.ts";
import { IDEMPOTENCY_RESULT_LIMIT_BYTES } from "../protocol/limits.ts";
import { actThenRecord } from "./act-then-record.ts";
import { callController } from "./context.ts";
import { controlRouter } from "./openapi.ts";
import { lastJanitor, runJanitor } from "./routes/janitor.ts";

export const janitor = controlRouter()
  .openapi(runJanitor, async (c) => {
    const { config, env, store, now, waitUntil } = c.env.control;
    const { dryRun } = c.req.valid("json");
    const sweepApp = (name: string, dry: boolean) =>
      callController(env, name, async (controller) => controller.sweep(name, dry));
    const act = (): Promise<Report> =>
      sweep(dryRun, { store, sweepApp, sweepServices: servicesSweep(config, store), now });
    if (dryRun) {
      const run = act();
      // The run outlives a client that leaves; ending it would leave the lease held.
      waitUntil(run.catch(() => undefined));
      return c.json(await run, 200);
    }
    const report = await actThenRecord(c.env.control, c.var.idempotency, {
      action: "janitor.run",
      act,
      details: ({ outcome, decisions, errors }) => ({
        outcome,
        deletions: decisions.filter(({ action }) => action === "delete").length,
        kept: decisions.filter(({ action }) => action === "keep").length,
        errors: errors.length,
      }),
      remember: {
        schema: reportSchema,
        of: (report) => reportWithin(report, IDEMPOTENCY_RESULT_LIMIT_BYTES),
      },
      repeated: (earlier) => earlier,
    });
    return c.json(report, 200);
  })
  .openapi(lastJanitor, async (c) => {
    const { store, now } = c.env.control;
    return c.json(await lastRun(store, now()), 200);
  });
