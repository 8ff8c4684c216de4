import { createRoute, z } from "@hono/zod-openapi";
import { Problem } from "../errors.ts";
import { hubOf } from "../runners/hub-call.ts";
import { listRunners, readRunner, type RunnerRecord } from "../runners/registry.ts";
import { newCredential } from "../runners/runner-auth.ts";
import { sendCommand } from "../runners/send-command.ts";
import { putSources } from "../runners/sources.ts";
import { runnerOffline } from "../runners/stream-problems.ts";
import { StoreUnavailable, type StateStore } from "../state/store.ts";
import { controlRouter, json, jsonBody, noBody, operator, problems } from "./openapi.ts";
import {
  commandBody,
  commandQuery,
  commandView,
  credentialView,
  drainBody,
  runnerDetails,
  runnerPageQuery,
  runnerPath,
  runnerView,
  sourcesView,
  viewDetails,
  viewRunner,
} from "./runner-schemas.ts";

const common = { security: operator, tags: ["runners"] };

const list = createRoute({
  ...common,
  method: "get",
  path: "/runners",
  summary: "Runners in alphabetical order",
  request: { query: runnerPageQuery },
  responses: { 200: json(z.object({ runners: z.array(runnerView) })), ...problems },
});

const read = createRoute({
  ...common,
  method: "get",
  path: "/runners/{id}",
  summary: "One runner, with what its hub knows at this moment",
  request: { params: runnerPath },
  responses: { 200: json(runnerDetails), ...problems },
});

const remove = createRoute({
  ...common,
  method: "delete",
  path: "/runners/{id}",
  summary: "Forgets a runner that isn't connected, and its credential",
  request: { params: runnerPath },
  responses: { 200: json(runnerView, "As it was"), ...problems },
});

const command = createRoute({
  ...common,
  method: "post",
  path: "/runners/{id}/commands",
  summary: "Sends a command; with `wait` answers with the event that it ends with",
  request: { params: runnerPath, query: commandQuery, body: jsonBody(commandBody) },
  responses: { 200: json(commandView), ...problems },
});

const drain = createRoute({
  ...common,
  method: "post",
  path: "/runners/{id}/drain",
  summary: "Gives the runner nothing new; what it has goes on",
  request: { params: runnerPath, body: jsonBody(drainBody) },
  responses: { 200: json(runnerView), ...problems },
});

const issue = createRoute({
  ...common,
  method: "post",
  path: "/runners/{id}/credentials",
  summary: "A secret of the runner's own, in place of any former one; shown this once",
  request: { params: runnerPath, body: noBody },
  responses: { 201: json(credentialView, "Issued"), ...problems },
});

const revoke = createRoute({
  ...common,
  method: "delete",
  path: "/runners/{id}/credentials",
  summary: "Revokes the runner's own secret and ends a connection that was made with it",
  request: { params: runnerPath },
  responses: { 200: json(runnerView), ...problems },
});

const sources = createRoute({
  ...common,
  method: "put",
  path: "/runners/{id}/sources",
  summary: "Streams a source archive to the runner, which keeps it by its SHA-256",
  request: {
    params: runnerPath,
    body: {
      required: true,
      content: { "application/gzip": { schema: z.string().openapi({ format: "binary" }) } },
    },
  },
  responses: { 200: json(sourcesView), ...problems },
});

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
    const hub = await hubOf(env, id).view();
    return c.json(viewDetails(hub.record ?? known, hub, now()), 200);
  })
  .openapi(remove, async (c) => {
    const { env, store } = c.env.control;
    const { id } = c.req.valid("param");
    const record = await requireRunnerRecord(store, id);
    const outcome = await hubOf(env, id).forget(id);
    if (outcome === "unavailable") throw notWritten(id);
    if (outcome === "connected") {
      throw new Problem(
        "runner_online",
        `Runner ${id} is connected. Stop it first, or revoke its credential.`,
      );
    }
    return c.json(viewRunner(record), 200);
  })
  .openapi(command, async (c) => {
    const { env, now } = c.env.control;
    const { id } = c.req.valid("param");
    const { wait } = c.req.valid("query");
    const { type, projectId = null, payload = {} } = c.req.valid("json");
    const commandId = crypto.randomUUID();
    const timestamp = new Date(now()).toISOString();
    const sent = { id: commandId, type, projectId, timestamp, payload };
    const answer = await sendCommand(env, id, sent, wait * 1_000);
    switch (answer.kind) {
      case "sent":
        return c.json({ ok: true as const, commandId }, 200);
      case "result":
        return c.json(
          { ok: true as const, commandId, event: eventFields.parse(JSON.parse(answer.event)) },
          200,
        );
      case "offline":
        throw runnerOffline(id);
      case "draining":
        throw new Problem("runner_draining", `Runner ${id} is draining and takes no new work.`);
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
    const { env, store } = c.env.control;
    const { id } = c.req.valid("param");
    const known = await requireRunnerRecord(store, id);
    const { record, published } = await hubOf(env, id).drain(id, c.req.valid("json").draining);
    if (!published) throw notWritten(id);
    return c.json(viewRunner(record ?? known), 200);
  })
  .openapi(issue, async (c) => {
    const { id } = c.req.valid("param");
    const { secret, sha256 } = await newCredential();
    if (!(await hubOf(c.env.control.env, id).setCredential(id, sha256))) throw notWritten(id);
    return c.json({ id, secret }, 201);
  })
  .openapi(revoke, async (c) => {
    const { env, store } = c.env.control;
    const { id } = c.req.valid("param");
    const record = await requireRunnerRecord(store, id);
    if (!(await hubOf(env, id).setCredential(id, null))) throw notWritten(id);
    return c.json(viewRunner({ ...record, credentialSha256: null }), 200);
  })
  .openapi(sources, async (c) => {
    const { id } = c.req.valid("param");
    return c.json(await putSources(c.env.control.env, id, c.req.raw), 200);
  });

const eventFields = z.record(z.string(), z.unknown());

async function requireRunnerRecord(store: StateStore, id: string): Promise<RunnerRecord> {
  const record = await readRunner(store, id);
  if (record !== null) return record;
  throw new Problem("unknown_runner", `There is no runner ${id}: none has connected under this id.`, {
    errors: [{ field: "path.id", message: "names no runner" }],
  });
}

/** The hub knows it already; the registry, which is what everybody else reads, doesn't yet. */
function notWritten(id: string): StoreUnavailable {
  return new StoreUnavailable(`The registry's record of runner ${id} couldn't be written:`);
}
