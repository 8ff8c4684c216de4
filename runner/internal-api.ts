import { randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ResolvedTarget } from "./tunnel/services.ts";

/** Parts of the path that a pattern named, decoded; `*` is the rest of it. */
export type PathParts = Record<string, string>;
export type InternalHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  parts: PathParts,
) => Promise<void> | void;

interface Route {
  method: string;
  pattern: string[];
  handler: InternalHandler;
}

const TOKEN_HEADER = "x-signalbox-internal";

/**
 * The runner's own HTTP API. Only the hub reaches it, as the tunnel service `@runner`: it listens on a Unix socket in a
 * directory of its own, and agents, which run as the same user, lack the token.
 *
 *     api.route("GET", "/projects/:slug/files/*", (request, response, { slug, "*": path }) => …)
 */
export class InternalApi {
  readonly #routes: Route[] = [];
  readonly #token = randomBytes(24).toString("base64url");
  readonly #report: (error: unknown) => void;
  #server: Server | undefined;
  #directory = "";
  #socketPath = "";

  constructor(report: (error: unknown) => void) {
    this.#report = report;
  }

  /** Where the tunnel finds it. */
  get target(): ResolvedTarget {
    return { address: { socketPath: this.#socketPath }, headers: [[TOKEN_HEADER, this.#token]] };
  }

  route(method: string, pattern: string, handler: InternalHandler): void {
    this.#routes.push({ method, pattern: pattern.split("/").slice(1), handler });
  }

  async listen(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), "signalbox-"));
    this.#socketPath =
      process.platform === "win32"
        ? `\\\\.\\pipe\\signalbox-${randomBytes(12).toString("hex")}`
        : join(this.#directory, "api");
    const server = createServer((request, response) => void this.#serve(request, response));
    // Uploads may take long; the tunnel has its own limits.
    server.requestTimeout = 0;
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#socketPath, resolve);
    });
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server !== undefined) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    if (this.#directory !== "") await rm(this.#directory, { recursive: true, force: true });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (!this.#authentic(request))
        return answerProblem(response, 401, "unauthorized", "The token is wrong.");
      const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
      const matches = this.#routes.flatMap((route) => {
        const parts = match(route.pattern, path.split("/").slice(1));
        return parts === null ? [] : [{ route, parts }];
      });
      const found = matches.find(({ route }) => route.method === request.method);
      if (found !== undefined) await found.route.handler(request, response, found.parts);
      else if (matches.length > 0) answerProblem(response, 405, "method_not_allowed", "Not by this method.");
      else answerProblem(response, 404, "not_found", "There is no such thing on this runner.");
    } catch (error) {
      this.#report(error);
      if (response.headersSent) response.destroy();
      else answerProblem(response, 500, "internal", "The runner failed; see its log.");
    }
  }

  #authentic(request: IncomingMessage): boolean {
    const given = Buffer.from(String(request.headers[TOKEN_HEADER] ?? ""));
    const token = Buffer.from(this.#token);
    return given.length === token.length && timingSafeEqual(given, token);
  }
}

/** Answers with an error as the control API words it. */
export function answerProblem(response: ServerResponse, status: number, code: string, detail: string): void {
  response
    .writeHead(status, { "content-type": "application/problem+json", "cache-control": "no-store" })
    .end(JSON.stringify({ status, code, detail }));
}

function match(pattern: readonly string[], path: readonly string[]): PathParts | null {
  const parts: PathParts = {};
  for (const [at, wanted] of pattern.entries()) {
    if (wanted === "*") {
      const rest = decoded(path.slice(at).join("/"));
      return rest === null ? null : { ...parts, "*": rest };
    }
    const part = path[at];
    if (part === undefined) return null;
    if (!wanted.startsWith(":")) {
      if (wanted !== part) return null;
      continue;
    }
    const value = decoded(part);
    if (value === null || value === "") return null;
    parts[wanted.slice(1)] = value;
  }
  return path.length === pattern.length ? parts : null;
}

function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}
