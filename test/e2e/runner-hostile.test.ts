import { expect, test } from "vitest";
import { encodeFrame, joinFrames } from "../../functions/protocol/frames.ts";
import { bundleWithServices, runtimeCommand } from "../helpers/runner.ts";
import { startTunnelWorld } from "../helpers/tunnel-world.ts";

test("frames that no hub sends end the connection and nothing else", async () => {
  const fixture = await bundleWithServices();
  const world = await startTunnelWorld(runtimeCommand("node", fixture.bundle));
  const { hub, runner } = world;
  let { link } = world;
  const hostile: [string, Uint8Array][] = [
    ["an empty message", new Uint8Array(0)],
    ["noise", Buffer.from("this is no frame at all")],
    [
      "a stream that was never opened",
      joinFrames([encodeFrame({ type: "window", stream: 99_999_999, bytes: 1 })]),
    ],
    ["a number used twice", joinFrames([open(1), open(1)])],
    [
      "an answer",
      joinFrames([
        encodeFrame({
          type: "head",
          stream: 1,
          head: { status: 200, statusText: "", headers: [] },
          body: new Uint8Array(0),
          end: true,
        }),
      ]),
    ],
    [
      "a body after its end",
      joinFrames([open(1), encodeFrame({ type: "data", stream: 1, body: new Uint8Array(1), end: false })]),
    ],
    [
      "more than there is credit for",
      joinFrames([
        open(1, false),
        ...Array.from({ length: 17 }, () =>
          encodeFrame({ type: "data", stream: 1, body: new Uint8Array(64 * 1024), end: false }),
        ),
      ]),
    ],
    [
      "credit that can't be meant",
      joinFrames([encodeFrame({ type: "window", stream: 0, bytes: 2 ** 32 - 1 })]),
    ],
    ["a request line in a path", joinFrames([open(1, true, "/ HTTP/1.1")])],
  ];
  for (const [name, message] of hostile) {
    const current = await hub.connection(hub.connections.length - 1);
    const index = hub.connections.length;
    current.streams.raw(message);
    expect(await current.end(), name).toMatchObject({ code: 1002 });
    link = await hub.connection(index);
  }
  link.socket.send("{ this is no command");
  expect(await link.end()).toMatchObject({ code: 1002 });
  link = await hub.connection(hub.connections.length);
  expect((await link.streams.request({ path: "/after-all" }).body()).toString()).toBe("GET /after-all ");
  expect(runner.isOver).toBe(false);
  await world.stop();
  await fixture.remove();
});

test.each([false, true])(
  "headers that HTTP can't carry end their stream and nothing else (webSocket: %s)",
  async (webSocket) => {
    const fixture = await bundleWithServices();
    const world = await startTunnelWorld(runtimeCommand("node", fixture.bundle));
    const { runner, link } = world;
    for (const value of ["\u0001", "\u007f"]) {
      const headers: [string, string][] = [
        ["host", "app.example"],
        ["x-odd", value],
      ];
      const odd = link.streams.request({ path: "/odd", webSocket, headers });
      expect(await odd.over()).toMatchObject({ code: "protocol" });
    }
    // Long enough for what is late: each of them needs the event loop once more at most.
    for (const path of ["/one", "/two", "/three"])
      expect((await link.streams.request({ path }).body()).toString()).toBe(`GET ${path} `);
    expect(runner.isOver).toBe(false);
    await world.stop();
    await fixture.remove();
  },
);

function open(stream: number, end = true, path = "/deaf") {
  const head = { service: "app", method: "POST", path, headers: [], webSocket: false };
  return encodeFrame({ type: "open", stream, head, body: new Uint8Array(0), end });
}
