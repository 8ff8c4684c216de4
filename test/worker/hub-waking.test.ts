import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { encodeFrame, joinFrames, parseFrames } from "../../functions/protocol/frames.ts";
import { RUNNER_SUBPROTOCOL } from "../../functions/protocol/limits.ts";
import { RUNNER_TAG } from "../../functions/runners/attachments.ts";
import { fetchHub, hubOf } from "../../functions/runners/reach-hub.ts";

/** A runner's connection, of which the hub remembers something else when it wakes. */
async function wakeWith(runnerId: string, remembered: (known: object) => object): Promise<WebSocket> {
  const call = { kind: "socket", runnerId, protocol: RUNNER_SUBPROTOCOL, ownCredential: false } as const;
  const { webSocket } = await fetchHub(env, call, { headers: { upgrade: "websocket" } });
  if (!webSocket) throw new Error("The hub took no runner.");
  webSocket.accept();
  await runInDurableObject(hubOf(env, runnerId), (_, ctx) => {
    for (const socket of ctx.getWebSockets(RUNNER_TAG))
      socket.serializeAttachment(remembered(Object(socket.deserializeAttachment())));
  });
  await evictDurableObject(hubOf(env, runnerId), { webSockets: "hibernate" });
  return webSocket;
}

function closing(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => {
    socket.addEventListener("close", ({ code }) => {
      resolve(code);
      socket.close();
    });
  });
}

test("a hub that wakes with a runner's socket that it can't go on with closes it, so that the runner comes back", async () => {
  const socket = await wakeWith("older", () => ({ kind: "runner", by: "another version" }));
  const closed = closing(socket);
  expect((await hubOf(env, "older").view()).record?.state).toBe("offline");
  expect(await closed).toBe(1012);
});

test("a connection that has used every stream number gives way to the next", async () => {
  const socket = await wakeWith("veteran", (known) => ({ ...known, nextStream: 0xffff_ffff }));
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => {
    if (typeof data === "string") return;
    for (const { type, stream } of parseFrames(new Uint8Array(data as ArrayBuffer))) {
      if (type !== "open") continue;
      const head = { status: 204, statusText: "", headers: [] };
      const answer = { type: "head", stream, head, body: new Uint8Array(0), end: true } as const;
      socket.send(joinFrames([encodeFrame(answer)]));
    }
  });
  const closed = closing(socket);
  const ask = async (): Promise<number> =>
    (await fetchHub(env, { kind: "tunnel", runnerId: "veteran", service: "web", path: "/" }, {})).status;
  expect(await ask()).toBe(204);
  expect(await ask()).toBe(502);
  expect(await closed).toBe(1012);
  expect(await ask()).toBe(503);
});
