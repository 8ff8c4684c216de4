import { expect, test } from "vitest";
import type { RawHeaders } from "../../functions/protocol/frames.ts";
import { BLOCK } from "../helpers/local-service.ts";
import { until } from "../helpers/stack.ts";
import { collect, headerLines, describeTunnel } from "../helpers/tunnel-world.ts";

describeTunnel("WebSockets through the tunnel", (world) => {
  const lastSeen = (url: string) => world.local.seen.findLast((request) => request.url === url);

  const open = (path: string, headers: RawHeaders = []) =>
    world.link.streams.request({ path, headers: [["host", "app.example"], ...headers], webSocket: true });

  test("carry messages both ways, with subprotocol, headers and path as the client gave them", async () => {
    const socket = open("/ws/%2e%2e/x?token=1", [
      ["Origin", "https://app.example"],
      ["Sec-WebSocket-Protocol", "vite-hmr"],
      ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="],
      ["sec-websocket-extensions", "permessage-deflate"],
      ["X-Two", "1"],
      ["x-two", "2"],
    ]);
    const head = await socket.head();
    expect(head.status).toBe(101);
    expect(head.headers).toEqual([["Sec-WebSocket-Protocol", "vite-hmr"]]);
    const seen = headerLines(lastSeen("/ws/%2e%2e/x?token=1")?.rawHeaders ?? []).map((line) =>
      line.toLowerCase(),
    );
    expect(seen).toEqual(
      expect.arrayContaining(["host: app.example", "origin: https://app.example", "x-two: 1", "x-two: 2"]),
    );
    expect(seen.some((line) => line.startsWith("sec-websocket-extensions"))).toBe(false);
    socket.say("gr\u00fc\u00dfe");
    expect(await socket.hear()).toEqual({ type: "text", bytes: Buffer.from("gr\u00fc\u00dfe") });
    socket.say(new Uint8Array([1, 2, 3]));
    expect(await socket.hear()).toEqual({ type: "binary", bytes: Buffer.from([1, 2, 3]) });
    socket.say("");
    expect((await socket.hear()).bytes.length).toBe(0);
    socket.close(1000);
    expect(await socket.over()).toMatchObject({ code: 1000 });
  });

  test("work where nothing that was offered is chosen", async () => {
    const socket = open("/ws", [["sec-websocket-protocol", "other"]]);
    expect((await socket.head()).headers).toEqual([]);
    socket.close(1005);
    expect(await socket.over()).toMatchObject({ code: 1005 });
  });

  test("carry a message of 1 MiB in parts, and one of 15 MiB", async () => {
    const socket = open("/ws");
    await socket.head();
    for (const megabytes of [1, 15]) {
      const message = Buffer.alloc(megabytes * 1024 * 1024, "signalbox");
      socket.say(message, 10_000);
      expect((await socket.hear()).bytes.equals(message)).toBe(true);
    }
    socket.close(4321, "done");
    expect(await socket.over()).toMatchObject({ code: 4321 });
    await until(
      () => world.local.sockets.closeCodes,
      (codes) => codes.includes(4321),
    );
  });

  test("close with 1009 for messages of more than 16 MiB, in either direction", async () => {
    const up = open("/ws");
    await up.head();
    up.say(Buffer.alloc(16 * 1024 * 1024 + 1), 1024 * 1024);
    expect(await up.over()).toMatchObject({ code: 1009 });
    const down = open("/ws");
    await down.head();
    down.say(`send ${16 * 1024 * 1024 + 1}`);
    expect(await down.over()).toMatchObject({ code: 1009 });
  });

  test("a flood is held back at its source, and none of it is lost", async () => {
    await collect(world.link);
    const before = world.runner.allocatedMiB();
    const socket = open("/ws");
    await socket.head();
    socket.say("flood 200");
    let most = 0;
    for (let n = 0; n < 200; n += 1) {
      expect((await socket.hear()).bytes.equals(BLOCK)).toBe(true);
      most = Math.max(most, world.runner.allocatedMiB());
    }
    expect(most - before).toBeLessThan(120);
    socket.close(1000);
    await socket.over();
  });

  test("a service that doesn't take what it is sent is closed with 1013, and nobody else", async () => {
    const other = open("/ws");
    const deaf = open("/deaf");
    await Promise.all([other.head(), deaf.head()]);
    for (let n = 0; n < 400 && deaf.closed === null; n += 1) {
      deaf.say(BLOCK);
      if (n % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await deaf.over()).toMatchObject({ code: 1013 });
    other.say(Buffer.alloc(15 * 1024 * 1024));
    expect((await other.hear()).bytes.length).toBe(15 * 1024 * 1024);
    other.close(1000);
    await other.over();
  });

  test("an app that takes nothing of five large messages is closed with 1013, and no visitor of another app", async () => {
    const deaf = open("/deaf");
    const other = world.link.streams.request({ service: "six", path: "/ws", webSocket: true });
    await Promise.all([deaf.head(), other.head()]);
    for (let n = 0; n < 5; n += 1) deaf.say(Buffer.alloc(12_700_000));
    for (let n = 0; n < 3; n += 1) {
      other.say(Buffer.alloc(15 * 1024 * 1024));
      expect((await other.hear()).bytes.length).toBe(15 * 1024 * 1024);
    }
    expect(await deaf.over()).toMatchObject({ code: 1013 });
    expect(other.closed).toBeNull();
    other.close(1000);
    await other.over();
  });

  test("a flood of empty messages holds up no request, and none of it is lost", async () => {
    const count = 25_000;
    const socket = open("/ws");
    await socket.head();
    socket.say(`empty ${count}`);
    const flood = { isOver: false };
    const heard = (async () => {
      for (let n = 0; n < count; n += 1) expect((await socket.hear()).bytes.length).toBe(0);
      flood.isOver = true;
    })();
    const times: number[] = [];
    while (!flood.isOver) {
      const at = performance.now();
      await world.link.streams.request({ path: "/status?code=200" }).body();
      times.push(performance.now() - at);
    }
    await heard;
    console.log(
      `${times.length} requests beside the flood, the slowest took ${Math.max(...times).toFixed(0)} ms`,
    );
    // They outlast the flood by far where they have to wait for the end of it.
    expect(times.length).toBeGreaterThan(5);
    socket.close(1000);
    await socket.over();
  });

  test("tell the service's close code, and reset when it just hangs up", async () => {
    const polite = open("/ws");
    await polite.head();
    polite.say("close 4001");
    expect(await polite.over()).toEqual({ code: 4001, reason: "as you wish" });
    const rude = open("/ws");
    await rude.head();
    rude.say("abort");
    expect(await rude.over()).toMatchObject({ code: "unreachable" });
  });

  test("a client that is gone is gone for the service too", async () => {
    const { closeCodes } = world.local.sockets;
    const before = closeCodes.length;
    const socket = open("/ws");
    await socket.head();
    socket.cancel();
    await until(
      () => closeCodes.slice(before),
      (codes) => codes.includes(1006),
    );
  });

  test("a refused upgrade is an ordinary answer", async () => {
    const socket = open("/refused");
    expect(await socket.head()).toMatchObject({ status: 403 });
    expect((await socket.body()).toString()).toBe("not you");
    const gone = world.link.streams.request({ service: "gone", path: "/", webSocket: true });
    await expect(gone.head()).rejects.toThrow("reset: unreachable");
  });
});
