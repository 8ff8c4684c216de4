import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { openWebSocket } from "../../runner/web-socket.ts";

/** Looks at what arrives on the wire, and hands it on to a server that answers the handshake. */
const relay = createServer();
const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
let seen: Buffer;

beforeAll(async () => {
  relay.on("connection", (from: Socket) => {
    const to = connect((server.address() as AddressInfo).port, "127.0.0.1");
    from.pipe(to).pipe(from);
    for (const socket of [from, to]) socket.on("error", () => undefined);
    from.on("data", (bytes) => (seen = Buffer.concat([seen, Buffer.from(bytes)])));
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
});
afterAll(() => {
  relay.close();
  server.close();
});

/** Sends one message to `host`, and returns what of it could be read on the way. */
async function wire(host: string, message: string): Promise<string> {
  const { port } = relay.address() as AddressInfo;
  seen = Buffer.alloc(0);
  const arrived = once(server, "connection").then(async ([socket]) => once(socket, "message"));
  const socket = openWebSocket({
    url: new URL(`ws://${host}:${port}/`),
    headers: [],
    messageLimitBytes: 1_024,
    dial: () => connect(port, "127.0.0.1"),
    agreed: () => undefined,
  });
  await once(socket, "open");
  socket.send(message);
  const [received] = await arrived;
  expect(String(received)).toBe(message);
  socket.terminate();
  return seen.toString("latin1").split("\r\n\r\n").slice(1).join("\r\n\r\n");
}

const SMUGGLED = "GET /cached HTTP/1.1\r\nhost: victim.test\r\n\r\n";

test("what a visitor chose can't be read as HTTP by a proxy between a runner and its broker", async () => {
  expect(await wire("broker.test", SMUGGLED)).not.toContain("GET /cached");
});

test.each(["127.0.0.1", "localhost"])("on loopback, at %s, masks cost nothing", async (host) => {
  expect(await wire(host, SMUGGLED)).toContain("GET /cached");
});
