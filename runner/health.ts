import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Fields } from "../functions/protocol/control.ts";
import { PROMETHEUS_TYPE } from "../functions/protocol/telemetry/prometheus.ts";

export interface HealthOptions {
  port: number;
  /** All addresses when missing: the platform's health checks come from outside. */
  host?: string;
  runnerId: string;
  workspaceRoot: string;
  connected: () => boolean;
  /** Further fields of `/health`: disk, builds, version. */
  more: () => Fields;
  /** The text of `/metrics`. */
  metrics: () => string;
}

/** Answers `/health`, `/ready` and `/metrics`, and nothing else. */
export class HealthServer {
  readonly #options: HealthOptions;
  readonly #server: Server;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  /** Returns the port, which is a free one when 0 was asked for. */
  async listen(): Promise<number> {
    const { port, host } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ port, ...(host === undefined ? {} : { host }) }, resolve);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    if ((method === "GET" || method === "HEAD") && url.split("?", 1)[0] === "/metrics") {
      const headers = { "content-type": PROMETHEUS_TYPE, "cache-control": "no-store" };
      response.writeHead(200, headers).end(method === "HEAD" ? undefined : this.#options.metrics());
      return;
    }
    const { status, body } = await this.#answer(method, url);
    response
      .writeHead(status, { "content-type": "application/json", "cache-control": "no-store" })
      .end(request.method === "HEAD" ? undefined : JSON.stringify(body));
  }

  async #answer(method: string, url: string): Promise<{ status: number; body: Fields }> {
    const path = url.split("?", 1)[0];
    const { runnerId, workspaceRoot, connected, more } = this.#options;
    const read = method === "GET" || method === "HEAD";
    if (!read || (path !== "/health" && path !== "/ready"))
      return { status: 404, body: { error: "Not found" } };
    const workspaceExists = await isDirectory(workspaceRoot);
    if (path === "/ready") {
      const ready = connected() && workspaceExists;
      return { status: ready ? 200 : 503, body: { ready, runnerId } };
    }
    const runner = { id: runnerId, connected: connected(), workspace: workspaceRoot, workspaceExists };
    const timestamp = new Date().toISOString();
    return {
      status: 200,
      body: { status: "healthy", runner, uptime: process.uptime(), timestamp, ...more() },
    };
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
