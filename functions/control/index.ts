import { Problem } from "../errors.ts";
import { CONTROL_BODY_LIMIT_BYTES, CONTROL_MESSAGE_LIMIT_BYTES } from "../protocol/limits.ts";
import { apps } from "./apps.ts";
import { requireCaller, requireScope } from "./caller.ts";
import type { ControlContext } from "./context.ts";
import { readJson } from "./body.ts";
import { deployments } from "./deployments.ts";
import { events } from "./events.ts";
import { deploymentSource } from "./deployment-source.ts";
import { logs } from "./logs.ts";
import { controlRouter } from "./openapi.ts";
import { audit } from "./audit.ts";
import { janitor } from "./janitor.ts";
import { builds } from "./builds.ts";
import { projects } from "./projects.ts";
import { projectEnv } from "./project-env.ts";
import { projectFiles } from "./project-files.ts";
import { projectGit } from "./project-git.ts";
import { projectMove } from "./project-move.ts";
import { projectLogs } from "./project-logs.ts";
import { placements } from "./placements.ts";
import { runnerAgents } from "./runner-agents.ts";
import { runners } from "./runners.ts";
import { sources } from "./sources.ts";
import { tokens } from "./tokens.ts";
import { traffic } from "./traffic.ts";

export const CONTROL_PREFIX = "/_signalbox/api/v1";

const description = {
  openapi: "3.1.0",
  info: { title: "Signalbox control API", version: "1" },
  servers: [{ url: CONTROL_PREFIX }],
};

const router = controlRouter();
router.openAPIRegistry.registerComponent("securitySchemes", "controlToken", {
  type: "http",
  scheme: "bearer",
});
// On the router's own view of the path: an encoded letter leads to the same route.
router.use("*", async (c, next) => {
  requireScope(c.env.control.caller, c.req.method, c.req.path);
  await next();
});
const api = router
  .route("/", apps)
  .route("/", deployments)
  .route("/", deploymentSource)
  .route("/", logs)
  .route("/", traffic)
  .route("/", events)
  .route("/", janitor)
  .route("/", audit)
  .route("/", runners)
  .route("/", runnerAgents)
  .route("/", sources)
  .route("/", placements)
  .route("/", projects)
  .route("/", builds)
  .route("/", projectEnv)
  .route("/", projectFiles)
  .route("/", projectGit)
  .route("/", projectMove)
  .route("/", projectLogs)
  .route("/", tokens);
api.notFound((c) => {
  throw new Problem("not_found", `The control API has no ${c.req.method} ${new URL(c.req.url).pathname}.`);
});
api.onError((error) => {
  throw error;
});

/** Checks token, size and shape before anything else. */
export async function serveControl(request: Request, context: ControlContext): Promise<Response> {
  const url = new URL(request.url);
  const path = url.pathname.slice(CONTROL_PREFIX.length);
  if (path === "/openapi.json" && request.method === "GET") return Response.json(openApiDocument());
  const caller = await requireCaller(request, context);
  url.pathname = path === "" ? "/" : oneSegment(path);
  const headers = new Headers(request.headers);
  const init: RequestInit = { method: request.method, headers, signal: request.signal };
  if (request.method === "PUT" && isStreamed(path)) {
    if (request.body !== null) init.body = request.body;
  } else if (["POST", "PUT", "PATCH"].includes(request.method)) {
    init.body = await readJson(request, bodyLimit(path));
    headers.set("content-type", "application/json");
  }
  return api.fetch(new Request(url, init), { control: { ...context, caller } });
}

export function openApiDocument(): unknown {
  return api.getOpenAPI31Document(description);
}

/** Source archives stream through to their runner or to Railway. */
function isStreamed(path: string): boolean {
  return /^\/(?:runners\/[^/]+\/sources|apps\/[^/]+\/deployments\/[^/]+\/source)$/.test(path);
}

/** A file's path is one parameter, whether its slashes are encoded or not. */
function oneSegment(path: string): string {
  const [, before = "", file = ""] = /^(\/projects\/[^/]+\/files\/)(.+)$/.exec(path) ?? [];
  return file === "" ? path : before + file.replaceAll("/", "%2F");
}

/** Commands carry whole files. */
function bodyLimit(path: string): number {
  return /^\/(?:runners\/[^/]+\/commands|projects\/[^/]+\/files\/.+)$/.test(path)
    ? CONTROL_MESSAGE_LIMIT_BYTES
    : CONTROL_BODY_LIMIT_BYTES;
}
