import { connect, type Socket } from "node:net";

/** An HTTP/1.1 answer as it came over the wire. */
export interface RawAnswer {
  status: number;
  reason: string;
  headers: [name: string, value: string][];
  /** Without the framing of chunks. */
  body: Buffer;
  /** Whether the message ended as its framing says; false when the connection broke before. */
  complete: boolean;
}

/** Sends bytes that no client library has touched, and reads one answer. */
export function rawRequest(
  port: number,
  request: string | Buffer,
  options: { method?: string } = {},
): Promise<RawAnswer> {
  const socket = connect(port, "127.0.0.1");
  socket.write(typeof request === "string" ? Buffer.from(request, "latin1") : request);
  return readAnswer(socket, options).finally(() => socket.destroy());
}

/** Reads one answer from a connection. Rejects when it ends before there is a head. */
export function readAnswer(socket: Socket, options: { method?: string } = {}): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const finish = (ended: boolean): void => {
      const answer = parse(received, ended, options.method ?? "GET");
      if (answer === null && !ended) return;
      if (answer === null) reject(new Error(`The connection ended before a head: ${received.toString()}`));
      else resolve(answer);
    };
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      finish(false);
    });
    socket.on("error", () => finish(true));
    socket.on("close", () => finish(true));
  });
}

/** A request without a body; `path` and `headers` go out as they are. */
export function rawGet(host: string, path: string, headers: Record<string, string> = {}): string {
  const lines = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
}

export const HANDSHAKE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

export function header(answer: Pick<RawAnswer, "headers">, name: string): string | undefined {
  return headers(answer, name)[0];
}

export function headers(answer: Pick<RawAnswer, "headers">, name: string): string[] {
  return answer.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
}

function parse(received: Buffer, ended: boolean, method: string): RawAnswer | null {
  const headEnd = received.indexOf("\r\n\r\n");
  if (headEnd === -1) return null;
  const [statusLine = "", ...lines] = received.subarray(0, headEnd).toString("latin1").split("\r\n");
  const [, status = "0", reason = ""] = /^HTTP\/1\.1 (\d+) ?(.*)$/.exec(statusLine) ?? [];
  const code = Number(status);
  if (code >= 100 && code < 200 && code !== 101) return parse(received.subarray(headEnd + 4), ended, method);
  const answer: RawAnswer = {
    status: code,
    reason,
    headers: lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }),
    body: Buffer.alloc(0),
    complete: true,
  };
  const rest = received.subarray(headEnd + 4);
  if (method === "HEAD" || code === 101 || code === 204 || code === 304) return answer;
  const { body, complete } = /chunked/i.test(header(answer, "transfer-encoding") ?? "")
    ? unchunk(rest)
    : sized(rest, header(answer, "content-length"), ended);
  if (!complete && !ended) return null;
  return { ...answer, body, complete };
}

function sized(
  rest: Buffer,
  length: string | undefined,
  ended: boolean,
): { body: Buffer; complete: boolean } {
  if (length === undefined) return { body: rest, complete: ended };
  return { body: rest.subarray(0, Number(length)), complete: rest.length >= Number(length) };
}

function unchunk(rest: Buffer): { body: Buffer; complete: boolean } {
  const chunks: Buffer[] = [];
  for (let position = 0; ;) {
    const lineEnd = rest.indexOf("\r\n", position);
    if (lineEnd === -1) return { body: Buffer.concat(chunks), complete: false };
    const size = Number.parseInt(rest.subarray(position, lineEnd).toString("latin1"), 16);
    if (size === 0)
      return { body: Buffer.concat(chunks), complete: rest.indexOf("\r\n\r\n", lineEnd) !== -1 };
    chunks.push(rest.subarray(lineEnd + 2, Math.min(lineEnd + 2 + size, rest.length)));
    position = lineEnd + 2 + size + 2;
    if (position > rest.length) return { body: Buffer.concat(chunks), complete: false };
  }
}
