import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream";
import { z } from "zod";
import { LOG_PAGE_LINES, LOG_WAIT_LIMIT_SECONDS } from "../../functions/protocol/limits.ts";
import {
  SHA256_HEADER,
  SOURCE_BYTES_HEADER,
  type RunnerRefusal,
  type RunnerAnswers,
  type RunnerRoute,
} from "../../functions/protocol/runner-api.ts";
import { asRunnerError, RunnerError, errorStatuses } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import { SHA256_PATTERN, type SourceStore } from "../sources/source-store.ts";
import type { Cleanup } from "../cleanup/cleanup.ts";
import type { Disk } from "../workspaces/disk.ts";
import { projectRoutes } from "../projects/api.ts";
import { workspaceRoutes } from "../projects/workspace-api.ts";
import type { ProjectManager } from "../projects/project-manager.ts";
import type { DeploymentManager } from "./deployment-manager.ts";
import { count, header, parseBody, readJson, whilePresent } from "./api-request.ts";
import type { ApiAnswer, Route } from "./api-route.ts";
import { parseKey, parseSpec } from "./spec.ts";

/** Time for a client that is still uploading to read an early answer. */
const LINGER_MS = 5_000;

const newCleanup = z.strictObject({ dryRun: z.boolean() });

type Routes = { [R in RunnerRoute]: Route<RunnerAnswers[R]> };

/**
 * Serves the API of `functions/protocol/runner-api.ts`. Only the tunnel reaches it; anyone who may open a stream to it
 * may deploy.
 */
export function createInternalApi(options: {
  deployments: DeploymentManager;
  projects: ProjectManager;
  sources: SourceStore;
  disk: Disk;
  cleanup: Cleanup;
  /** Aborts when the runner shuts down, and with it every wait for log lines. */
  ending: AbortSignal;
}): (request: IncomingMessage, response: ServerResponse) => void {
  const routes = createRoutes(options);
  return (request, response) => {
    // A client that leaves ends nothing that it started.
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    answer(routes, request).then(
      (given) => send(request, response, given),
      (error: unknown) => {
        const problem = asRunnerError(error);
        if (problem.code === "internal" && !request.destroyed) complain("internal API", error);
        const { code, message: detail, field } = problem;
        const body: RunnerRefusal = { code, detail, ...(field === undefined ? {} : { field }) };
        send(request, response, { status: errorStatuses[code], body });
      },
    );
  };
}

function createRoutes({
  deployments,
  projects,
  sources,
  disk,
  cleanup,
  ending,
}: Parameters<typeof createInternalApi>[0]): Routes {
  const key = (parts: string[]): string => {
    const name = `${parts[1] ?? ""}/${parts[2] ?? ""}`;
    parseKey(name);
    return name;
  };
  const restarts = new Map<string, { asked: string; restarted: Promise<unknown> }>();
  return {
    "PUT sources": async (request) => {
      const sha256 = header(request, SHA256_HEADER);
      if (sha256 !== undefined && !SHA256_PATTERN.test(sha256)) {
        throw new RunnerError(
          "invalid_request",
          "This isn't a SHA-256 in hexadecimal.",
          "x-signalbox-sha256",
        );
      }
      const length = header(request, "content-length");
      const bytes = length === undefined ? undefined : Number(length);
      // The default would destroy the request, and its answer, at the first refused byte.
      const body: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
      return { status: 200, body: await sources.put(body, { sha256, bytes }) };
    },
    "HEAD sources/*": async (_request, _url, [, sha256 = ""]) => {
      const source = await sources.find(sha256);
      if (source === null) return { status: 404, body: null };
      return { status: 200, body: null, headers: { [SOURCE_BYTES_HEADER]: String(source.bytes) } };
    },
    "PUT deployments/*/*": async (request, _url, parts) => {
      const name = key(parts);
      const spec = parseSpec(await readJson(request));
      return { status: 202, body: await deployments.put(name, spec) };
    },
    "GET deployments/*/*": async (_request, _url, parts) => ({
      status: 200,
      body: deployments.status(key(parts)),
    }),
    "DELETE deployments/*/*": async (_request, _url, parts) => {
      restarts.delete(key(parts));
      await deployments.remove(key(parts));
      return { status: 200, body: { removed: true } };
    },
    "GET deployments/*/*/logs": async (request, url, parts) => {
      const cursor = count(url, "cursor", 0, Number.MAX_SAFE_INTEGER);
      const limit = count(url, "limit", LOG_PAGE_LINES, LOG_PAGE_LINES);
      const waitMs = count(url, "wait", 0, LOG_WAIT_LIMIT_SECONDS) * 1_000;
      const read = (waiting?: AbortSignal) => deployments.logs(key(parts), cursor, limit, waiting);
      return {
        status: 200,
        body: await (waitMs === 0 ? read() : whilePresent(request, waitMs, ending, read)),
      };
    },
    "POST deployments/*/*/restart": async (_request, url, parts) => {
      const name = key(parts);
      const asked = url.searchParams.get("request");
      const known = restarts.get(name);
      // Repeats are one restart, also while the old process is still ending.
      const repeated = asked !== null && known?.asked === asked;
      const restarted = repeated ? known.restarted : deployments.restart(name);
      if (asked !== null) restarts.set(name, { asked, restarted });
      try {
        await restarted;
      } catch (error) {
        if (restarts.get(name)?.restarted === restarted) restarts.delete(name);
        throw error;
      }
      return { status: 202, body: deployments.status(name) };
    },
    ...projectRoutes(projects, readJson),
    ...workspaceRoutes(projects, ending),
    "POST cleanup": async (request) => ({
      status: 200,
      body: await cleanup.run((await parseBody(request, newCleanup)).dryRun),
    }),
    "GET agents": async () => ({ status: 200, body: { agents: projects.agents } }),
    "GET status": async () => ({
      status: 200,
      body: { deployments: deployments.list(), disk: await disk.status() },
    }),
  };
}

async function answer(routes: Readonly<Record<string, Route>>, request: IncomingMessage): Promise<ApiAnswer> {
  const { method = "GET" } = request;
  const url = new URL(request.url ?? "/", "http://runner");
  const parts = url.pathname.slice(1).split("/");
  const shapes = Object.keys(routes).filter((name) => matches(name.split(" ")[1] ?? "", parts));
  const route = routes[shapes.find((name) => name.startsWith(`${method} `)) ?? ""];
  if (route) return route(request, url, parts);
  if (shapes.length > 0) throw new RunnerError("method_not_allowed", `${method} isn't possible here.`);
  throw new RunnerError("not_found", "The runner has no such resource.");
}

function matches(shape: string, parts: string[]): boolean {
  const names = shape.split("/");
  return names.length === parts.length && names.every((name, at) => name === "*" || name === parts[at]);
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, body, headers, stream }: ApiAnswer,
): void {
  if (response.destroyed || response.headersSent) {
    stream?.destroy();
    return;
  }
  if (stream !== undefined) {
    response.writeHead(status, { "cache-control": "no-store", ...headers });
    response.flushHeaders();
    // What breaks off shows as an answer that breaks off.
    pipeline(stream, response, () => undefined);
    return;
  }
  const text = body === null ? "" : JSON.stringify(body);
  // Node closes a connection with the end of its last answer, and what the client still sends then resets it: the answer
  // is lost. So the rest of a refused upload is read first.
  const isWhole = request.complete;
  if (!isWhole) response.setHeader("connection", "close");
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    ...headers,
  });
  if (isWhole) {
    response.end(text);
    return;
  }
  response.flushHeaders();
  response.write(text);
  request.resume();
  const timer = setTimeout(() => request.destroy(), LINGER_MS);
  request.once("end", () => response.end());
  request.once("close", () => clearTimeout(timer));
}
