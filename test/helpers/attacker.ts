import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { WebSocket } from "ws";

/** What one outsider does to an app through the edge, in a process of its own: `attacker.ts KIND PORT HOST COUNT [HARD]`. */
const [kind = "", port = "", host = "", count = "", hard = ""] = process.argv.slice(2);

const again = (attack: () => void, afterMs = hard === "" ? 1_000 : 50): void =>
  void setTimeout(attack, afterMs);

function raw(request: string): Socket {
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(request);
  return socket;
}

/** Comes back whenever it is ended. */
function unfinished(): void {
  const socket = raw(`POST / HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 1000000\r\n\r\nsome`);
  socket.resume().on("close", () => again(unfinished));
}

const MEBIBYTE = randomBytes(1024 * 1024);

function upload(): void {
  const socket = raw(
    `POST /deaf HTTP/1.1\r\nhost: ${host}\r\ncontent-length: ${30 * MEBIBYTE.length}\r\n\r\n`,
  );
  let left = 30;
  const more = (): void => {
    for (; left > 0; left -= 1) if (!socket.write(MEBIBYTE)) return void socket.once("drain", more);
  };
  more();
  socket.resume().on("close", () => again(upload, 500));
}

/** Asks for much and reads nothing of it. */
function unread(): void {
  raw(`GET /blocks?count=1000 HTTP/1.1\r\nhost: ${host}\r\n\r\n`)
    .pause()
    .on("close", () => again(unread));
}

function visit(path: string, opened: (socket: WebSocket) => void): void {
  const pauseMs = hard === "" ? 3_000 : 200;
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, {
    headers: { host },
    perMessageDeflate: false,
  });
  socket.on("error", () => undefined);
  socket.on("open", () => opened(socket));
  socket.on("close", () => again(() => visit(path, opened), pauseMs));
}

function pump(socket: WebSocket, message: string | Buffer, together: number): void {
  if (socket.readyState !== WebSocket.OPEN) return;
  for (let n = 0; n < together && socket.bufferedAmount < 1024 * 1024; n += 1) socket.send(message);
  if (hard !== "" && socket.bufferedAmount === 0) setImmediate(() => pump(socket, message, together));
  else setTimeout(() => pump(socket, message, together), 5);
}

const attacks: Record<string, () => void> = {
  unfinished,
  uploads: upload,
  unread,
  sockets: () => visit("/", () => undefined),
  "deaf-app": () => visit("/deaf", (socket) => pump(socket, Buffer.alloc(12_700_000), 1)),
  "empty-out": () => visit("/", (socket) => socket.send("empty")),
  // At once more than a visitor may, and what it may thereafter.
  "empty-in": () =>
    visit("/", (socket) => {
      for (let n = 0; n < 10_000; n += 1) socket.send("");
      pump(socket, "", hard === "" ? 5 : 100);
    }),
  "deaf-visitor": () =>
    visit("/", (socket) => {
      socket.send("flood");
      socket.pause();
    }),
};

const attack = attacks[kind];
if (attack === undefined) throw new Error(`There is no attack ${kind}.`);
for (let n = 0; n < Number(count); n += 1) setTimeout(attack, n / 2);
