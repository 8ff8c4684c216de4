import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { z } from "zod";
import { testCache } from "./installed-fixture.ts";

/** Source: Cloudflare's code for a script that doesn't exist, which wrangler goes by. */
const NO_SUCH_WORKER = 10007;

const bulk = z.object({ secrets: z.record(z.string(), z.object({ text: z.string() })) });

/** As much of Cloudflare's API as wrangler asks for when it lists and puts secrets and deploys a Worker. */
export class CloudflareStandIn {
  readonly secrets = new Map<string, string>();
  /** Each deployed bundle's size; the draft that holds a new Worker's secrets isn't one. */
  readonly deployed: number[] = [];
  /** Refuses what matches, as for a token without permission. */
  refuses: RegExp | null = null;
  /** Never answers what matches. */
  hangsOn: RegExp | null = null;
  readonly calls: string[] = [];
  url = "";
  exists = false;
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  static async start(): Promise<CloudflareStandIn> {
    const standIn = new CloudflareStandIn();
    standIn.#server.listen(0, "127.0.0.1");
    await once(standIn.#server, "listening");
    const address = standIn.#server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    standIn.url = `http://127.0.0.1:${port}/client/v4`;
    return standIn;
  }

  /** What wrangler needs to come here, and to tell nobody else. */
  env(): Record<string, string> {
    return {
      CLOUDFLARE_API_BASE_URL: this.url,
      CLOUDFLARE_API_TOKEN: "cloudflare-token-for-tests",
      CLOUDFLARE_ACCOUNT_ID: "account",
      WRANGLER_SEND_METRICS: "false",
      // Each of its starts compiles seven megabytes otherwise.
      NODE_COMPILE_CACHE: join(testCache, "compiled"),
    };
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk as Uint8Array));
    const body = Buffer.concat(chunks);
    const path = new URL(request.url ?? "", this.url).pathname.replace(
      /^\/client\/v4\/accounts\/account\//,
      "",
    );
    const call = `${request.method ?? ""} ${path}`;
    this.calls.push(call);
    if (this.hangsOn?.test(call)) return;
    if (this.refuses?.test(call))
      return answer(response, 403, { code: 10000, message: "Authentication error" });
    const result = this.#result(call, body);
    if (result === null)
      answer(response, 404, { code: NO_SUCH_WORKER, message: "This Worker does not exist." });
    else answer(response, 200, null, result);
  }

  /** Null: there is no such Worker. */
  #result(call: string, body: Buffer): unknown {
    switch (call) {
      case "PUT workers/scripts/signalbox":
        if (this.exists) this.deployed.push(body.length);
        this.exists = true;
        return { id: "signalbox", startup_time_ms: 1, deployment_id: "d" };
      case "GET workers/subdomain":
        return { subdomain: "acme" };
    }
    if (!this.exists) return null;
    switch (call) {
      case "PATCH workers/scripts/signalbox/secrets-bulk":
        for (const [name, { text }] of Object.entries(bulk.parse(JSON.parse(body.toString())).secrets))
          this.secrets.set(name, text);
        return {};
      case "GET workers/scripts/signalbox/secrets":
        return [...this.secrets.keys()].map((name) => ({ name, type: "secret_text" }));
      case "GET workers/services/signalbox":
        return { default_environment: { script: { last_deployed_from: "wrangler" } } };
      case "GET workers/workers/signalbox":
        return { name: "signalbox", subdomain: { enabled: true, previews_enabled: false } };
      case "GET workers/scripts/signalbox/deployments":
        return { deployments: [] };
      case "GET workers/scripts/signalbox/settings":
        return { bindings: [], tags: [] };
      default:
        return {};
    }
  }
}

function answer(
  response: ServerResponse,
  status: number,
  error: { code: number; message: string } | null,
  result: unknown = null,
): void {
  response.writeHead(status, { "content-type": "application/json" });
  const errors = error === null ? [] : [error];
  response.end(JSON.stringify({ success: error === null, errors, messages: [], result }));
}
