import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { encodeFrame, joinFrames, parseFrames, type Frame } from "../../functions/protocol/frames.ts";
import {
  CONNECTION_WINDOW_BYTES,
  FRAME_BODY_BYTES,
  RUNNER_SUBPROTOCOL,
  STALLED_READER_MS,
  STREAM_WINDOW_BYTES,
} from "../../functions/protocol/limits.ts";
import type { RunnerHub } from "../../functions/runners/hub.ts";
import { fetchHub } from "../../functions/runners/reach-hub.ts";

declare global {
  namespace Cloudflare {
    interface Env {
      RUNNER_HUB: DurableObjectNamespace<RunnerHub>;
    }
  }
}

/** A runner that answers each request with a whole window of bytes, and counts the room that it is given back. */
async function connectRunner(runnerId: string): Promise<{ roomBytes: number; changed(): Promise<void> }> {
  const call = { kind: "socket", runnerId, protocol: RUNNER_SUBPROTOCOL, ownCredential: false } as const;
  const { webSocket } = await fetchHub(env, call, { headers: { upgrade: "websocket" } });
  if (!webSocket) throw new Error("The hub took no runner.");
  let changed = Promise.withResolvers<void>();
  const runner = { roomBytes: CONNECTION_WINDOW_BYTES, changed: () => changed.promise };
  const send = (frame: Frame): void => webSocket.send(joinFrames([encodeFrame(frame)]));
  webSocket.accept();
  webSocket.binaryType = "arraybuffer";
  webSocket.addEventListener("message", ({ data }) => {
    if (typeof data === "string") return;
    for (const frame of parseFrames(new Uint8Array(data as ArrayBuffer))) {
      if (frame.type === "window" && frame.stream === 0) {
        runner.roomBytes += frame.bytes;
        changed.resolve();
        changed = Promise.withResolvers();
      }
      if (frame.type !== "open") continue;
      const { stream } = frame;
      const head = { status: 200, statusText: "", headers: [] };
      send({ type: "head", stream, head, body: new Uint8Array(0), end: false });
      for (let at = FRAME_BODY_BYTES; at <= STREAM_WINDOW_BYTES; at += FRAME_BODY_BYTES) {
        const body = new Uint8Array(FRAME_BODY_BYTES);
        send({ type: "data", stream, body, end: at === STREAM_WINDOW_BYTES });
      }
      runner.roomBytes -= STREAM_WINDOW_BYTES;
    }
  });
  return runner;
}

test(
  "clients that take nothing of an answer that is complete give the connection's room back",
  { timeout: STALLED_READER_MS + 60_000 },
  async () => {
    const runner = await connectRunner("stalled");
    const call = { kind: "tunnel", runnerId: "stalled", service: "web", path: "/" } as const;
    const unread: Response[] = [];
    for (let n = 0; n < CONNECTION_WINDOW_BYTES / STREAM_WINDOW_BYTES; n++)
      unread.push(await fetchHub(env, call, {}));
    expect(runner.roomBytes).toBeLessThan(CONNECTION_WINDOW_BYTES / 4);
    while (runner.roomBytes < CONNECTION_WINDOW_BYTES / 2) await runner.changed();
    // What isn't whole doesn't look whole.
    await expect(unread[0]?.arrayBuffer()).rejects.toThrow();
  },
);
