import { randomBytes } from "node:crypto";
import {
  createServer,
  request as requestHttp,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { request as requestHttps } from "node:https";
import type { AddressInfo } from "node:net";

/** Where an agent's requests go, and what lets them in. */
export interface Vendor {
  url: string;
  /** `authorization`: the key is a bearer's. */
  header: string;
  key: string;
}

/** A build's way to its vendor. */
export interface Passage {
  url: string;
  token: string;
  /** Ends requests that are under way, too. */
  revoke(): void;
}

/** The headers in which agents send what they take for a key. */
const KEY_HEADERS = ["x-api-key", "x-goog-api-key", "authorization", "api-key"];
/** Of one connection, or about the caller. */
const OWN_HEADERS = [
  "host",
  "connection",
  "keep-alive",
  "proxy-authorization",
  "te",
  "trailer",
  "upgrade",
  "cookie",
];

interface Known {
  vendor: Vendor;
  answers: Set<ServerResponse>;
}

/**
 * The way from agents to their vendors. An agent has a token of one build where its vendor's key belongs; the key is put
 * on here, so it never is where an agent, or what an agent runs, could read it. Bodies pass as they come.
 */
export class Gateway {
  readonly port: number;
  readonly #server: Server;
  readonly #known = new Map<string, Known>();

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("request", (request: IncomingMessage, response: ServerResponse) =>
      this.#pass(request, response),
    );
  }

  /** Listens on loopback alone. */
  static async listen(): Promise<Gateway> {
    const server = createServer();
    // A model may think for minutes before its first byte.
    server.requestTimeout = 0;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return new Gateway(server);
  }

  open(vendor: Vendor): Passage {
    const token = `signalbox-${randomBytes(24).toString("base64url")}`;
    const known: Known = { vendor, answers: new Set() };
    this.#known.set(token, known);
    return {
      url: `http://127.0.0.1:${this.port}`,
      token,
      revoke: () => {
        this.#known.delete(token);
        for (const answer of known.answers) answer.destroy();
      },
    };
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #pass(request: IncomingMessage, response: ServerResponse): void {
    const known = this.#known.get(tokenOf(request));
    const { url = "" } = request;
    if (known === undefined || !url.startsWith("/")) {
      response.writeHead(known === undefined ? 401 : 400, { "content-type": "application/json" });
      response.end(
        JSON.stringify({ type: "error", error: { type: "authentication_error", message: REFUSED } }),
      );
      return;
    }
    const { vendor, answers } = known;
    const target = new URL(vendor.url);
    const send = target.protocol === "https:" ? requestHttps : requestHttp;
    const outgoing = send(target, {
      path: `${target.pathname.replace(/\/$/, "")}${url}`,
      method: request.method ?? "GET",
      headers: {
        ...withoutOwn(request),
        [vendor.header]: vendor.header === "authorization" ? `Bearer ${vendor.key}` : vendor.key,
      },
    });
    answers.add(response);
    response.once("close", () => {
      answers.delete(response);
      outgoing.destroy();
    });
    outgoing.once("response", (answer) => {
      const { connection: _, "keep-alive": __, ...headers } = answer.headers;
      response.writeHead(answer.statusCode ?? 502, headers);
      response.flushHeaders();
      answer.pipe(response);
      answer.once("error", () => response.destroy());
    });
    outgoing.once("error", () => {
      if (response.headersSent) return response.destroy();
      response.writeHead(502, { "content-type": "application/json" });
      response.end(
        JSON.stringify({
          type: "error",
          error: { type: "api_error", message: `${target.host} can't be reached.` },
        }),
      );
    });
    request.pipe(outgoing);
  }
}

const REFUSED = "This token is of no build that runs.";

function tokenOf({ headers }: IncomingMessage): string {
  const given = KEY_HEADERS.map((name) => String(headers[name] ?? "").replace(/^Bearer /i, ""));
  return given.find((value) => value.startsWith("signalbox-")) ?? "";
}

function withoutOwn({ headers }: IncomingMessage): Record<string, string | string[]> {
  const left = [...KEY_HEADERS, ...OWN_HEADERS];
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined || left.includes(name) ? [] : [[name, value] as const],
    ),
  );
}
