import { z } from "zod";
import { readJson } from "../control/body.ts";
import type { ControlContext } from "../control/context.ts";
import { commandRunner } from "../control/runner-command.ts";
import { adoptProject } from "../control/sentryvibe-projects.ts";
import { bearerToken, refuseLogin } from "../auth.ts";
import { clientAddress } from "../client-address.ts";
import { Problem } from "../errors.ts";
import { DRAIN_MESSAGE } from "../protocol/control.ts";
import { ENROLLED_HEADER, FIRST_TIME } from "../protocol/enrolment.ts";
import { JOIN_NAME } from "../protocol/joining.ts";
import {
  CONTROL_MESSAGE_LIMIT_BYTES,
  RUNNER_ID_PATTERN,
  RUNNER_SUBPROTOCOL,
  STATUS_CONNECTIONS_LIMIT,
} from "../protocol/limits.ts";
import { readJoinSecret } from "../runners/join-secret.ts";
import { callHub, fetchHub } from "../runners/reach-hub.ts";
import { connectedRunners, isEnrolled, type RunnerProtocol } from "../runners/registry.ts";
import { requireBrokerClient, requireRunner } from "../runners/runner-auth.ts";

/**
 * The SentryVibe broker's endpoints, with its names and its JSON: the runners' socket, and three for its web app. Beside
 * them, what a runner of ours joins to visitors' WebSockets.
 */

const PREFIX = "/_signalbox/";
const PATHS = new Set(["socket", JOIN_NAME, "commands", "status", "health"].map((name) => PREFIX + name));
/** What SentryVibe calls a runner without an id. */
const DEFAULT_RUNNER = "default";

/** The audit log's name for whoever has RUNNER_SHARED_SECRET. */
const SECRET_HOLDER = "runner-shared-secret";

/** An isolate has no clock until its first request. */
let firstSeenAt: number | null = null;

export function isBrokerPath(path: string): boolean {
  return PATHS.has(path);
}

export async function serveBroker(
  request: Request,
  path: string,
  context: ControlContext,
): Promise<Response> {
  switch (path.slice(PREFIX.length)) {
    case "socket":
      return acceptRunner(request, context);
    case JOIN_NAME:
      return joinRunner(request, context);
    case "commands":
      requireMethod(request, "POST");
      return takeCommand(request, context);
    case "status":
      requireMethod(request, "GET");
      return status(request, context);
    default:
      requireMethod(request, "GET");
      return json({ status: "ok", uptime: uptime(), timestamp: new Date(context.now()).toISOString() });
  }
}

async function acceptRunner(request: Request, context: ControlContext): Promise<Response> {
  const { config, store, env } = context;
  const runnerId = new URL(request.url).searchParams.get("runnerId") ?? DEFAULT_RUNNER;
  if (!RUNNER_ID_PATTERN.test(runnerId)) {
    throw new Problem(
      "invalid_request",
      "runnerId must have 1 to 128 letters, digits, dots, dashes or underscores.",
      {
        errors: [{ field: "query.runnerId", message: "is malformed" }],
      },
    );
  }
  const client = clientAddress(request, config) ?? "";
  const login = await requireRunner(request, runnerId, { env, config, store, client });
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return json({ error: "This address takes WebSockets only." }, 426);
  }
  const protocol = negotiate(request.headers.get("sec-websocket-protocol"));
  if (protocol === null) {
    return json(
      { error: `None of the offered versions is spoken here; this hub speaks ${RUNNER_SUBPROTOCOL}.` },
      426,
    );
  }
  const headers = { upgrade: "websocket" };
  const mustEnrol = config.requireEnrolment;
  const answer = await fetchHub(
    env,
    { kind: "socket", runnerId, protocol, ...login, mustEnrol },
    { headers },
  );
  if (answer.headers.get(ENROLLED_HEADER) === FIRST_TIME)
    context.waitUntil(auditEnrolment(context, runnerId));
  return answer;
}

async function joinRunner(request: Request, { config, env }: ControlContext): Promise<Response> {
  const { searchParams } = new URL(request.url);
  const runnerId = searchParams.get("runnerId") ?? "";
  const login = await readJoinSecret(config.controlToken, runnerId, bearerToken(request));
  if (login === null) {
    const remedy = "Send what the answer to the runner's own connection says.";
    refuseLogin(clientAddress(request, config) ?? "", remedy);
  }
  const stream = /^[1-9]\d{0,9}$/.exec(searchParams.get("stream") ?? "")?.[0];
  if (stream === undefined || request.headers.get("upgrade")?.toLowerCase() !== "websocket")
    return json({ error: "This address takes a runner's WebSockets only." }, 426);
  return fetchHub(
    env,
    { kind: "join", ...login, stream: Number(stream) },
    { headers: { upgrade: "websocket" } },
  );
}

/** The runner is enrolled by then, so a store that is away only costs the entry; the record keeps when it was. */
async function auditEnrolment({ store, now }: ControlContext, runner: string): Promise<void> {
  const entry = { at: now(), app: null, actor: "runner", action: "runner.enrol", details: { runner } };
  try {
    await store.writeAudit({ ...entry, fromVersion: null, toVersion: null }, null);
  } catch (error) {
    console.error(`The enrolment of runner ${runner} isn't in the audit log: ${String(error)}`);
  }
}

/** Null if none of the offered protocols is ours. */
function negotiate(offered: string | null): RunnerProtocol | null {
  if (offered === null || offered.trim() === "") return "sentryvibe";
  const names = offered.split(",").map((name) => name.trim());
  return names.includes(RUNNER_SUBPROTOCOL) ? RUNNER_SUBPROTOCOL : null;
}

/** Loose: fields that only the runner knows pass through. */
const commandBody = z.object({
  runnerId: z.string().default(DEFAULT_RUNNER),
  command: z
    .looseObject({ id: z.string().min(1).max(200).optional(), type: z.string().min(1).max(200) })
    .optional(),
});

const projectId = z.string().max(200);

async function takeCommand(request: Request, context: ControlContext): Promise<Response> {
  const { config } = context;
  const by = await requireBrokerClient(request, config, clientAddress(request, config) ?? "");
  const who = by === "operator" ? {} : { actor: SECRET_HOLDER, bySharedSecret: true };
  const body = commandBody.safeParse(JSON.parse(await readJson(request, CONTROL_MESSAGE_LIMIT_BYTES)));
  if (!body.success) return json({ error: "Malformed command payload" }, 400);
  const { runnerId, command } = body.data;
  if (command === undefined) return json({ error: "Missing command payload" }, 400);
  if (!RUNNER_ID_PATTERN.test(runnerId)) return notConnected();
  if (command.type === DRAIN_MESSAGE) return json({ error: "Use POST /runners/{id}/drain of the API" }, 400);
  const id = command.id ?? crypto.randomUUID();
  const timestamp = new Date(context.now()).toISOString();
  const project = projectId.safeParse(command["projectId"]).data ?? null;
  const adopted = await adoptProject(context, runnerId, command, request.url);
  if (adopted === null) return json({ error: "This project lives on another runner" }, 409);
  const payload = z.record(z.string(), z.unknown()).safeParse(command["payload"]).data;
  const more = Object.keys(adopted.payload).length > 0 ? { payload: { ...payload, ...adopted.payload } } : {};
  const sent = { timestamp, ...command, ...more, id };
  try {
    await commandRunner(context, null, { runnerId, sent, projectId: project, wait: 0, ...who });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "runner_enrolled") return json({ error: error.message }, 403);
    if (error.code === "runner_draining") return json({ error: "Runner is draining" }, 503);
    if (error.code === "runner_offline") return notConnected();
    throw error;
  }
  await adopted.sent();
  return json({ ok: true });
}

async function status(request: Request, context: ControlContext): Promise<Response> {
  const { config, store, env } = context;
  const by = await requireBrokerClient(request, config, clientAddress(request, config) ?? "");
  const connected = await connectedRunners(store, STATUS_CONNECTIONS_LIMIT);
  const shown = connected.filter((record) => by === "operator" || !isEnrolled(record));
  const ids = shown.map(({ id }) => id).sort();
  // Only the hubs know the heartbeats, and each costs a call: so the number of runners is limited.
  const connections = await Promise.all(
    ids.map(async (id) => {
      const lastHeartbeat = await callHub(env, id, (hub) => hub.lastHeardAt());
      return lastHeartbeat === null
        ? null
        : { runnerId: id, lastHeartbeat, lastHeartbeatAge: Math.max(0, context.now() - lastHeartbeat) };
    }),
  );
  return json({ connections: connections.filter((connection) => connection !== null), uptime: uptime() });
}

function notConnected(): Response {
  return json({ error: "Runner not connected" }, 503);
}

/** Seconds, as Node's `process.uptime()` counts them. */
function uptime(): number {
  return Math.max(0, (Date.now() - (firstSeenAt ??= Date.now())) / 1_000);
}

function requireMethod(request: Request, method: string): void {
  if (request.method === method) return;
  throw new Problem("method_not_allowed", `Use ${method} here.`, { headers: { allow: method } });
}

function json(body: unknown, status = 200): Response {
  return Response.json(body, { status, headers: { "cache-control": "no-store" } });
}
