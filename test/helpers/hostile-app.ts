import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";

/** An app that is hung or floods its visitors, in a process of its own. Says its port. */
const BLOCK = randomBytes(256 * 1024);
const server = createServer((request, response) => {
  request.on("error", () => undefined);
  // A request to `/deaf` is never read nor answered.
  if (request.url !== "/deaf") request.resume().on("end", () => response.end("ok"));
});
server.requestTimeout = 0;
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket, request) => {
  socket.on("error", () => undefined);
  if (request.url === "/deaf") socket.pause();
  socket.on("message", (data: Buffer) => {
    const order = data.toString();
    if (order !== "empty" && order !== "flood") return;
    const more = (): void => {
      if (socket.readyState !== socket.OPEN) return;
      // A hundred at a time, and as many as its runner takes.
      for (let n = 0; n < (order === "empty" ? 100 : 1); n += 1) socket.send(order === "empty" ? "" : BLOCK);
      if (socket.bufferedAmount < 1024 * 1024) setImmediate(more);
      else setTimeout(more, 5);
    };
    more();
  });
});
server.listen(0, "127.0.0.1", () => console.log(`port ${(server.address() as AddressInfo).port}`));
