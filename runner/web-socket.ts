import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { WebSocket, type RawData } from "ws";

export interface Handshake {
  url: URL;
  /** Request headers but for those of the handshake itself. Offer subprotocols by `sec-websocket-protocol`. */
  headers: Iterable<readonly [name: string, value: string]>;
  /** What to ask for, where it isn't what `url` would normalize to. */
  path?: string;
  messageLimitBytes: number;
  dial?: () => Socket;
  /** Told before "open": the answer of a peer that agreed, and the subprotocol that it chose. */
  agreed(answer: IncomingMessage, subprotocol: string | null): void;
}

/**
 * A client socket whose caller judges the answer's subprotocol. `ws` fails a handshake that offers some and gets none
 * back, as a SentryVibe broker and many local servers answer.
 */
export function openWebSocket(handshake: Handshake): WebSocket {
  const { dial, path } = handshake;
  const socket = new WebSocket(handshake.url, {
    maxPayload: handshake.messageLimitBytes,
    perMessageDeflate: false,
    // The types of `ws` lack this option.
    ...(needsNoMask(handshake.url) ? { generateMask: (key: Buffer) => key.fill(0) } : {}),
    followRedirects: false,
    ...(dial === undefined ? {} : { createConnection: dial }),
    finishRequest(request, unborn) {
      if (path !== undefined) request.path = path;
      try {
        for (const [name, values] of grouped(handshake.headers)) request.setHeader(name, values);
      } catch (error) {
        // Nobody holds this socket yet, and its error event ends the process if nobody listens.
        unborn.on("error", () => undefined);
        request.destroy();
        throw error;
      }
      request.end();
    },
  });
  socket.on("upgrade", (answer) => {
    const subprotocol = answer.headers["sec-websocket-protocol"] ?? null;
    delete answer.headers["sec-websocket-protocol"];
    handshake.agreed(answer, subprotocol);
  });
  return socket;
}

/**
 * A key of zeros changes nothing, which costs a third less for a large body. Keys are random so that nobody who chooses
 * the bytes can make them look like HTTP to a proxy on the way (RFC 6455, 10.3); through TLS none sees them, and on
 * loopback there is none.
 */
export function needsNoMask(url: URL): boolean {
  return url.protocol === "wss:" || /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname);
}

/** `ws` hands out messages in the shape that `binaryType` asks for; the default is one Buffer. */
export function messageBytes(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}

/** Setting a header twice would replace it. */
export function grouped(headers: Handshake["headers"]): Iterable<[name: string, values: string | string[]]> {
  const groups = new Map<string, [string, string | string[]]>();
  for (const [name, value] of headers) {
    const group = groups.get(name.toLowerCase());
    if (group === undefined) groups.set(name.toLowerCase(), [name, value]);
    else group[1] = [group[1], value].flat();
  }
  return groups.values();
}
