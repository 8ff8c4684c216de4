import { z } from "@hono/zod-openapi";
import { logRunnerDecision } from "../apps/decision-log.ts";
import { Problem } from "../errors.ts";
import { callProject } from "../projects/call-project.ts";
import { parseCleanupReport } from "../protocol/cleanup.ts";
import { runnerPaths } from "../protocol/runner-api.ts";
import { callHub } from "../runners/reach-hub.ts";
import { listRunners, readRunner, type RunnerRecord } from "../runners/registry.ts";
import { newCredential } from "../runners/runner-auth.ts";
import { StoreUnavailable, type StateStore } from "../state/store.ts";
import { actThenRecord } from "./act-then-record.ts";
import { controlRouter } from "./openapi.ts";
import { list, read, remove, command, cleanup, drain, issue, revoke } from "./routes/runners.ts";
import { commandRunner } from "./runner-command.ts";
import { cleanupView, runnerView, viewDetails, viewRunner } from "./runner-schemas.ts";

/** Measuring and deleting a hundred thousand files takes a minute. */
const CLEANUP_WAIT_MS = 120_000;

export const runners = controlRouter()
  .openapi(list, async (c) => {
    const { after, limit } = c.req.valid("query");
    const records = await listRunners(c.env.control.store, { after: after ?? null, limit });
    return c.json({ runners: records.map(viewRunner) }, 200);
  })
  .openapi(read, async (c) => {
    const { env, store, now } = c.env.control;
    const { id } = c.req.valid("param");
    const known = await requireRunnerRecord(store, id);
    const hub = await callHub(env, id, (one) => one.view());
    return c.json(viewDetails(hub.record ?? known, hub, now()), 200);
  })
  .openapi(remove, async (c) => {
    const { env, store } = c.env.control;
    const { id } = c.req.valid("param");
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      ...asViewed(id, "runner.delete"),
      act: async () => {
        const record = await requireRunnerRecord(store, id);
        const outcome = await callHub(env, id, (hub) => hub.forget(id));
        if (outcome === "unavailable") throw notWritten(id);
        if (outcome === "connected") {
          throw new Problem(
            "runner_online",
            `Runner ${id} is connected. Stop it first, or revoke its credential.`,
          );
        }
        return viewRunner(record);
      },
    });
    return c.json(answer, 200);
  })
  .openapi(command, async (c) => {
    const { now } = c.env.control;
    const { id } = c.req.valid("param");
    const { wait } = c.req.valid("query");
    const { type, projectId = null, payload = {} } = c.req.valid("json");
    const commandId = crypto.randomUUID();
    const timestamp = new Date(now()).toISOString();
    const sent = { id: commandId, type, projectId, timestamp, payload };
    const command = { runnerId: id, sent, projectId, wait };
    const answer = await commandRunner(c.env.control, c.var.idempotency, command);
    switch (answer.outcome) {
      case "sent":
        return c.json({ ok: true as const, commandId: answer.commandId }, 200);
      case "result":
        return c.json({ ok: true as const, commandId: answer.commandId, event: answer.event }, 200);
      case "timeout":
        throw new Problem(
          "command_timeout",
          `Command ${commandId} (${type}) didn't end within ${wait} s. It goes on.`,
        );
      case "lost":
        throw new Problem(
          "stream_reset",
          `Runner ${id} was disconnected while command ${commandId} (${type}) ran.`,
        );
    }
  })
  .openapi(drain, async (c) => {
    const { env, store, caller } = c.env.control;
    const { id } = c.req.valid("param");
    const { draining } = c.req.valid("json");
    const action = draining ? "runner.drain" : "runner.undrain";
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      ...asViewed(id, action),
      act: async () => {
        const known = await requireRunnerRecord(store, id);
        const { record, published } = await callHub(env, id, (hub) => hub.drain(id, draining));
        logRunnerDecision(draining ? "drain-runner" : "undrain-runner", id, { actor: caller.actor, action });
        if (!published) throw notWritten(id);
        return viewRunner(record ?? known);
      },
    });
    return c.json(answer, 200);
  })
  .openapi(cleanup, async (c) => {
    const { env, store } = c.env.control;
    const { id } = c.req.valid("param");
    const { dryRun } = c.req.valid("json");
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      subject: { kind: "runner", id },
      action: dryRun ? "runner.cleanup-dry-run" : "runner.cleanup",
      act: async () => {
        await requireRunnerRecord(store, id);
        const target = { env, runnerId: id };
        const options = { body: { dryRun }, waitMs: CLEANUP_WAIT_MS };
        return callProject(target, "POST", runnerPaths.cleanup, parseCleanupReport, options);
      },
      details: ({ freedBytes, cleaned }) => ({ freedBytes, cleaned: cleaned.length }),
      remember: { schema: cleanupView, of: (report) => report },
      repeated: (report) => report,
    });
    return c.json(answer, 200);
  })
  .openapi(issue, async (c) => {
    const { id } = c.req.valid("param");
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      subject: { kind: "runner", id },
      action: "runner.issue-credential",
      act: async () => {
        const { secret, sha256 } = await newCredential();
        const isWritten = await callHub(c.env.control.env, id, (hub) => hub.setCredential(id, sha256));
        if (!isWritten) throw notWritten(id);
        return { id, secret };
      },
      remember: { schema: issued, of: () => ({ id }) },
      repeated: () => {
        throw new Problem(
          "secret_shown_once",
          `This Idempotency-Key was used to issue a credential of runner ${id}. Its secret was shown then and is ` +
            "stored nowhere; a new key issues another one in its place.",
          { errors: [{ field: "header.idempotency-key", message: "was used to issue a credential" }] },
        );
      },
    });
    return c.json(answer, 201);
  })
  .openapi(revoke, async (c) => {
    const { env, store } = c.env.control;
    const { id } = c.req.valid("param");
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      ...asViewed(id, "runner.revoke-credential"),
      act: async () => {
        const record = await requireRunnerRecord(store, id);
        const isWritten = await callHub(env, id, (hub) => hub.setCredential(id, null));
        if (!isWritten) throw notWritten(id);
        return viewRunner({ ...record, credentialSha256: null, enrolledAt: null });
      },
    });
    return c.json(answer, 200);
  });

/** A change whose answer is the runner's view. */
const asViewed = (id: string, action: string) => ({
  subject: { kind: "runner" as const, id },
  action,
  remember: { schema: runnerView, of: (view: z.infer<typeof runnerView>) => view },
  repeated: (view: z.infer<typeof runnerView>) => view,
});

const issued = z.object({ id: z.string() });

async function requireRunnerRecord(store: StateStore, id: string): Promise<RunnerRecord> {
  const record = await readRunner(store, id);
  if (record !== null) return record;
  throw new Problem("unknown_runner", `There is no runner ${id}: none has connected under this id.`, {
    errors: [{ field: "path.id", message: "names no runner" }],
  });
}

/** The hub has the change, but the registry doesn't yet. */
function notWritten(id: string): StoreUnavailable {
  return new StoreUnavailable(`The registry's record of runner ${id} couldn't be written:`);
}
