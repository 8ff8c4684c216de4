import { once } from "node:events";
import { request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { ReceiveCredit, SendCredit } from "../../functions/protocol/flow.ts";
import type { Frame, OpenHead, RawHeaders } from "../../functions/protocol/frames.ts";
import {
  CONNECTION_WINDOW_BYTES,
  FRAME_BODY_BYTES,
  RUNNER_SUBPROTOCOL,
  STREAM_WINDOW_BYTES,
} from "../../functions/protocol/limits.ts";
import { RUNNER_SECRET, type TestStack } from "./stack.ts";
import { frameBytes, framesOf } from "./wire.ts";

/** A small runner: what the protocol says, and nothing about workspaces. Streams go to local ports by service. */
export interface TunnelClient {
  readonly socket: WebSocket;
  /** Ports of local backends by service. */
  readonly services: Map<string, number>;
  /** Commands that came, as parsed JSON. */
  readonly commands: Record<string, unknown>[];
  /** Every frame that came, newest last, without bodies; bounded. */
  readonly frames: { type: Frame["type"]; stream: number }[];
  readonly closed: Promise<{ code: number; reason: string }>;
  /** Answers frames itself where it returns true. */
  intercept: (frame: Frame, send: (frame: Frame) => void) => boolean;
  onCommand: (command: Record<string, unknown>) => void;
  send(frame: Frame): void;
  event(event: Record<string, unknown>): void;
  close(): Promise<void>;
}

export interface ConnectOptions {
  secret?: string;
  /** Null offers none: a SentryVibe runner. */
  subprotocol?: string | null;
}

export function runnerSocket(
  stack: Pick<TestStack, "port">,
  id: string,
  options: ConnectOptions = {},
): WebSocket {
  const { secret = RUNNER_SECRET, subprotocol = RUNNER_SUBPROTOCOL } = options;
  return new WebSocket(
    `ws://127.0.0.1:${stack.port}/_signalbox/socket?runnerId=${id}`,
    subprotocol === null ? [] : [subprotocol],
    { headers: { authorization: `Bearer ${secret}` }, perMessageDeflate: false },
  );
}

/** What a refused socket was answered. */
export async function refusal(socket: WebSocket): Promise<{ status: number; body: string }> {
  const [, response] = (await once(socket, "unexpected-response")) as [unknown, IncomingMessage];
  let body = "";
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode ?? 0, body };
}

export async function connectRunner(
  stack: Pick<TestStack, "port">,
  id: string,
  services: Record<string, number> = {},
  options: ConnectOptions = {},
): Promise<TunnelClient> {
  const socket = runnerSocket(stack, id, options);
  const link = new Link(socket);
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on("close", (code, reason) => {
      link.end();
      resolve({ code, reason: reason.toString() });
    });
  });
  const client: TunnelClient = {
    socket,
    services: new Map(Object.entries(services)),
    commands: [],
    frames: [],
    closed,
    intercept: () => false,
    onCommand: () => undefined,
    send: (frame) => link.send(frame),
    event: (event) => socket.send(JSON.stringify({ timestamp: new Date().toISOString(), ...event })),
    async close() {
      socket.close(1000);
      await closed;
    },
  };
  socket.on("message", (data: Buffer, isBinary) => {
    if (!isBinary) {
      if (data.toString() === "pong") return;
      const command: Record<string, unknown> = JSON.parse(data.toString());
      client.commands.push(command);
      return client.onCommand(command);
    }
    for (const frame of framesOf(data)) {
      client.frames.push({ type: frame.type, stream: frame.stream });
      if (client.frames.length > 10_000) client.frames.shift();
      if (!client.intercept(frame, (answer) => link.send(answer))) link.frame(frame, client.services);
    }
  });
  socket.on("error", () => undefined);
  await once(socket, "open");
  // As a runner does, and not only for looks: workerd ends the TCP connection of a socket that it has received nothing
  // from ten seconds after the close frames.
  socket.send("ping");
  client.event({ type: "runner-status", payload: { status: "online" } });
  return client;
}

interface Stream {
  frame(frame: Frame): void;
  end(): void;
}

/** The runner's half of a connection: credit, streams, and their backends. */
class Link {
  readonly #socket: WebSocket;
  readonly #streams = new Map<number, Stream>();
  readonly #sendCredit = new SendCredit(CONNECTION_WINDOW_BYTES);
  readonly #receiveCredit = new ReceiveCredit(CONNECTION_WINDOW_BYTES);
  #waiting: (() => void)[] = [];

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  send(frame: Frame): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(frameBytes(frame));
  }

  end(): void {
    for (const stream of this.#streams.values()) stream.end();
    this.#streams.clear();
    this.#wake();
  }

  forget(stream: number): void {
    this.#streams.delete(stream);
  }

  consumed(bytes: number): void {
    const grant = this.#receiveCredit.consume(bytes);
    if (grant > 0) this.send({ type: "window", stream: 0, bytes: grant });
  }

  async take(wanted: number): Promise<number> {
    while (this.#sendCredit.bytes === 0 && this.#socket.readyState === WebSocket.OPEN) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    return this.#sendCredit.take(wanted);
  }

  frame(frame: Frame, services: Map<string, number>): void {
    if (frame.type === "open" || frame.type === "data") this.#receiveCredit.receive(frame.body.byteLength);
    if (frame.stream === 0) {
      if (frame.type === "window") this.#sendCredit.grant(frame.bytes);
      return this.#wake();
    }
    const stream = this.#streams.get(frame.stream);
    if (stream) return stream.frame(frame);
    if (frame.type === "data") this.consumed(frame.body.byteLength);
    if (frame.type !== "open") return;
    const port = services.get(frame.head.service);
    if (port === undefined) {
      return this.send({
        type: "reset",
        stream: frame.stream,
        code: "unreachable",
        reason: "no such service",
      });
    }
    this.#streams.set(
      frame.stream,
      frame.head.webSocket
        ? webSocketStream(this, frame.stream, frame.head, port)
        : httpStream(this, frame.stream, frame.head, port, frame.end),
    );
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

function pairs(raw: string[]): RawHeaders {
  return raw.flatMap((name, index) =>
    index % 2 === 0 ? [[name, raw[index + 1] ?? ""] as [string, string]] : [],
  );
}

const HOP = new Set(["connection", "keep-alive", "transfer-encoding", "upgrade"]);

function httpStream(link: Link, stream: number, head: OpenHead, port: number, ended: boolean): Stream {
  const credit = new SendCredit(STREAM_WINDOW_BYTES);
  const receive = new ReceiveCredit(STREAM_WINDOW_BYTES);
  let wake = (): void => {};
  let over = false;
  const isOver = (): boolean => over;
  const finish = (): void => {
    over = true;
    wake();
    link.forget(stream);
  };
  const reset = (reason: string): void => {
    if (over) return;
    link.send({ type: "reset", stream, code: "unreachable", reason });
    finish();
  };
  const request: ClientRequest = httpRequest(
    {
      host: "127.0.0.1",
      port,
      method: head.method,
      path: head.path,
      headers: head.headers.flat(),
      agent: false,
    },
    (response) => {
      const headers = pairs(response.rawHeaders).filter(([name]) => !HOP.has(name.toLowerCase()));
      const { statusCode: status = 0, statusMessage: statusText = "" } = response;
      link.send({
        type: "head",
        stream,
        head: { status, statusText, headers },
        body: new Uint8Array(0),
        end: false,
      });
      const pump = async (): Promise<void> => {
        for await (const chunk of response) {
          for (let rest: Uint8Array = chunk; rest.byteLength > 0;) {
            for (; !isOver() && credit.bytes === 0;) await new Promise<void>((resolve) => (wake = resolve));
            if (isOver()) return;
            const granted = credit.take(
              await link.take(Math.min(rest.byteLength, credit.bytes, FRAME_BODY_BYTES)),
            );
            if (granted === 0) return;
            link.send({ type: "data", stream, body: rest.subarray(0, granted), end: false });
            rest = rest.subarray(granted);
          }
        }
        if (over) return;
        link.send({ type: "data", stream, body: new Uint8Array(0), end: true });
        finish();
      };
      pump().catch(() => reset("the backend broke off"));
    },
  );
  request.on("error", () => reset("the backend isn't there"));
  if (ended) request.end();
  return {
    end() {
      finish();
      request.destroy();
    },
    frame(frame) {
      switch (frame.type) {
        case "window":
          credit.grant(frame.bytes);
          return wake();
        case "reset":
          finish();
          request.destroy();
          return;
        case "data": {
          const bytes = frame.body.byteLength;
          receive.receive(bytes);
          if (bytes > 0) {
            request.write(frame.body, () => {
              link.consumed(bytes);
              const grant = receive.consume(bytes);
              if (grant > 0 && !over) link.send({ type: "window", stream, bytes: grant });
            });
          }
          if (frame.end) request.end();
          return;
        }
        default:
          throw new Error(`A hub sent ${frame.type} on a request.`);
      }
    },
  };
}

function webSocketStream(link: Link, stream: number, head: OpenHead, port: number): Stream {
  const offered = head.headers.find(([name]) => name === "sec-websocket-protocol")?.[1];
  const backend = new WebSocket(
    `ws://127.0.0.1:${port}${head.path}`,
    offered === undefined ? [] : offered.split(",").map((name) => name.trim()),
    { perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 },
  );
  let parts: Uint8Array[] = [];
  const finish = (): void => link.forget(stream);
  backend.on("upgrade", (response) => {
    const headers = pairs(response.rawHeaders);
    const answer = { status: 101, statusText: "Switching Protocols", headers };
    link.send({ type: "head", stream, head: answer, body: new Uint8Array(0), end: false });
  });
  backend.on("unexpected-response", (_request, response) => {
    const answer = { status: response.statusCode ?? 0, statusText: "", headers: pairs(response.rawHeaders) };
    response.once("data", (body: Buffer) => {
      link.send({ type: "head", stream, head: answer, body, end: true });
      finish();
    });
  });
  backend.on("message", (data: Buffer, isBinary) => {
    for (let at = 0; at === 0 || at < data.length; at += FRAME_BODY_BYTES) {
      const end = at + FRAME_BODY_BYTES >= data.length;
      const type = isBinary ? "binary" : "text";
      link.send({ type, stream, body: data.subarray(at, at + FRAME_BODY_BYTES), end });
    }
  });
  backend.on("close", (code, reason) => {
    if (code === 1006) link.send({ type: "reset", stream, code: "cancelled", reason: "the backend is gone" });
    else link.send({ type: "close", stream, code, reason: reason.toString() });
    finish();
  });
  backend.on("error", () => undefined);
  return {
    end: () => backend.terminate(),
    frame(frame) {
      switch (frame.type) {
        case "text":
        case "binary":
          parts.push(frame.body);
          if (!frame.end) return;
          backend.send(Buffer.concat(parts), { binary: frame.type === "binary" });
          parts = [];
          return;
        case "close":
          if (frame.code === 1005) backend.close();
          else backend.close(frame.code, frame.reason);
          return;
        case "reset":
          return backend.terminate();
        default:
          throw new Error(`A hub sent ${frame.type} on a WebSocket.`);
      }
    },
  };
}
