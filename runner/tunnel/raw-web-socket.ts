import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { grouped } from "../web-socket.ts";

export interface RawHandshake {
  url: URL;
  /** What to ask for, where it isn't what `url` would normalize to. */
  path?: string;
  headers: Iterable<readonly [name: string, value: string]>;
  dial?: () => Socket;
}

/** The connection of a WebSocket whose frames nobody takes apart yet. */
export type RawWebSocket =
  | { kind: "open"; socket: Socket; answer: IncomingMessage }
  | { kind: "refused"; request: ClientRequest; answer: IncomingMessage };

export interface Dialling {
  answered: Promise<RawWebSocket>;
  /** Ends it, whatever has come of it. */
  destroy(): void;
}

/** Source: RFC 6455, 1.3. */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Throws for headers that can't be sent. */
export function dialWebSocket({ url, path, headers, dial }: RawHandshake): Dialling {
  const key = randomBytes(16).toString("base64");
  const ask = url.protocol === "wss:" ? httpsRequest : httpRequest;
  const request = ask({
    // An address of IPv6 has brackets in a URL alone.
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? (url.protocol === "wss:" ? 443 : 80) : url.port,
    path: path ?? url.pathname + url.search,
    headers: {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": key,
    },
    agent: false,
    ...(dial === undefined ? {} : { createConnection: dial }),
  });
  let open: Socket | undefined;
  const answered = new Promise<RawWebSocket>((resolve, reject) => {
    request.on("error", reject);
    request.on("close", () => reject(new Error("the connection ended during the handshake")));
    request.on("response", (answer) => resolve({ kind: "refused", request, answer }));
    request.on("upgrade", (answer: IncomingMessage, socket: Socket, head: Buffer) => {
      open = socket;
      socket.on("error", () => socket.destroy());
      const wanted = createHash("sha1")
        .update(key + ACCEPT_SUFFIX)
        .digest("base64");
      if (answer.headers["sec-websocket-accept"] !== wanted) {
        socket.destroy();
        return reject(new Error("the answer is to another handshake"));
      }
      socket.setNoDelay();
      socket.setTimeout(0);
      if (head.length > 0) socket.unshift(head);
      resolve({ kind: "open", socket, answer });
    });
  });
  // Whoever awaits it hears of it; others don't care.
  answered.catch(() => undefined);
  try {
    for (const [name, values] of grouped(headers)) request.setHeader(name, values);
  } catch (error) {
    request.destroy();
    throw error;
  }
  request.end();
  return {
    answered,
    destroy: () => {
      request.destroy();
      open?.destroy();
    },
  };
}
