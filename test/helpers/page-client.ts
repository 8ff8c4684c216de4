import { WebSocket } from "ws";
import type { TestStack } from "./stack.ts";

/** A page's socket, as the helper holds it. */
export interface PageClient {
  socket: WebSocket;
  /** What it was told, in order: types of messages. */
  heard: string[];
  /** The close code, once it is over. */
  closed: Promise<number>;
}

export function newPageId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

/** Resolves when the socket is open; rejects with the status where it was refused. */
export function openPage(
  stack: TestStack,
  host: string,
  { deployment = "v1", page = newPageId(), origin = `http://${host}` } = {},
): Promise<PageClient> {
  const socket = new WebSocket(
    `ws://127.0.0.1:${stack.port}/_signalbox/page?deployment=${deployment}&page=${page}`,
    { headers: { host, ...(origin === "" ? {} : { origin }) }, perMessageDeflate: false },
  );
  const heard: string[] = [];
  socket.on("message", (data: Buffer) => {
    const text = data.toString();
    heard.push(text.startsWith("{") ? (JSON.parse(text) as { type: string }).type : text);
  });
  const closed = new Promise<number>((resolve) => socket.on("close", resolve));
  return new Promise((resolve, reject) => {
    socket.on("open", () => resolve({ socket, heard, closed }));
    socket.on("error", reject);
    socket.on("unexpected-response", (_, response) => {
      reject(new Error(`refused with ${response.statusCode}`));
      socket.terminate();
    });
  });
}
