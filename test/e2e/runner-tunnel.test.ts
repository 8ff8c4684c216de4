import { createHash } from "node:crypto";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeFrame, joinFrames, type RawHeaders } from "../../functions/protocol/frames.ts";
import { startHub, type Hub, type HubConnection } from "../helpers/hub-client.ts";
import {
  BLOCK,
  blocksHash,
  GZIPPED,
  startLocalService,
  type LocalService,
} from "../helpers/local-service.ts";
import {
  bundleFixture,
  runtimeCommand,
  startRunner,
  type RunnerProcess,
  type Runtime,
} from "../helpers/runner-process.ts";
import { until } from "../helpers/stack.ts";

const fixture = await bundleFixture();
afterAll(() => fixture.remove());

describe.each<Runtime>(["node", "deno"])("the tunnel on %s", (runtime) => {
  let hub: Hub;
  let local: LocalService;
  let local6: LocalService;
  let runner: RunnerProcess;
  let link: HubConnection;

  beforeAll(async () => {
    hub = await startHub();
    local = await startLocalService();
    local6 = await startLocalService("::1");
    runner = await startRunner({
      command: runtimeCommand(runtime, fixture.bundle),
      brokerUrl: hub.url,
      services: { app: local.port, six: local6.port, gone: 1 },
      env: { TEST_TIMINGS: JSON.stringify({ reconnectFirstMs: 50, reconnectLimitMs: 50 }) },
    });
    link = await hub.connection(0);
  });
  afterAll(async () => {
    await runner.remove();
    await hub.close();
    await local.close();
    await local6.close();
  });

  const get = (path: string, headers: RawHeaders = [["host", "app.example"]]) =>
    link.session.request({ path, headers });
  const lastSeen = (url: string) => local.seen.findLast((request) => request.url === url);
  const pairs = (raw: string[]): string[] =>
    raw.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${raw[at + 1]}`] : []));

  test("headers keep their order, spelling and duplicates both ways; hop-by-hop ones go", async () => {
    const stream = get("/headers", [
      ["Host", "shop.example"],
      ["X-Two", "1"],
      ["x-two", "2"],
      ["Accept-Encoding", "br, gzip"],
      ["Connection", "keep-alive, X-Only-Here"],
      ["x-only-here", "1"],
      ["Cookie", "a=\u00e9"],
      ["TE", "trailers"],
    ]);
    const { status, statusText, headers } = await stream.head();
    expect([status, statusText]).toEqual([200, "Quite Fine"]);
    expect(headers.filter(([name]) => name !== "Date")).toEqual([
      ["Set-Cookie", "a=1; Path=/"],
      ["X-Odd-CASE", "caf\u00e9"],
      ["set-cookie", "b=2"],
      ["Content-Length", "2"],
    ]);
    expect((await stream.body()).toString()).toBe("ok");
    expect(pairs(lastSeen("/headers")?.rawHeaders ?? [])).toEqual([
      "Host: shop.example",
      "X-Two: 1",
      "x-two: 2",
      "Accept-Encoding: br, gzip",
      "Cookie: a=\u00e9",
      "Connection: keep-alive",
    ]);
  });

  test("a small answer is one frame, and so is the path as the client spelled it", async () => {
    const stream = get("/a/%2e%2e/%C3%A9//b?x=%20&y");
    expect((await stream.body()).toString()).toBe("GET /a/%2e%2e/%C3%A9//b?x=%20&y ");
    expect(stream.frames).toBe(1);
  });

  test.each([204, 304])("%i has no body and keeps its headers", async (code) => {
    const stream = get(`/bare?code=${code}`);
    const head = await stream.head();
    expect(head.status).toBe(code);
    expect(head.headers).toContainEqual(["etag", '"x"']);
    expect((await stream.body()).length).toBe(0);
  });

  test("an answer to HEAD keeps the length that it doesn't have", async () => {
    const stream = link.session.request({ method: "HEAD", path: "/status?code=200" });
    expect((await stream.head()).headers).toContainEqual(["content-length", "5"]);
    expect((await stream.body()).length).toBe(0);
  });

  test("a compressed body comes as it is", async () => {
    const stream = get("/gzip");
    expect((await stream.head()).headers).toContainEqual(["content-encoding", "gzip"]);
    expect((await stream.body()).equals(GZIPPED)).toBe(true);
  });

  test("the first event of a stream of events comes while the rest is still to come", async () => {
    const stream = get("/events");
    expect((await stream.head()).status).toBe(200);
    expect(Buffer.from((await stream.read()) ?? "").toString()).toBe("data: first\n\n");
    stream.cancel();
    await until(
      () => local.broken,
      (broken) => broken.includes("/events"),
    );
  });

  test("a service that listens on IPv6's localhost only is reached", async () => {
    const stream = link.session.request({ service: "six", path: "/six" });
    expect((await stream.body()).toString()).toBe("GET /six ");
  });

  test.each([
    ["a whole body in the first frame", "POST", [["host", "a"]], "hello", "content-length: 5"],
    [
      "a told length",
      "PUT",
      [
        ["host", "a"],
        ["Content-Length", "5"],
      ],
      "hello",
      "content-length: 5",
    ],
    ["no body where one is usual", "POST", [["host", "a"]], "", "content-length: 0"],
  ] as const)("%s has one framing", async (_, method, headers, body, framing) => {
    const given = headers.map(([name, value]): [string, string] => [name, value]);
    const stream = link.session.request({ method, path: "/framing", headers: given }, Buffer.from(body));
    expect((await stream.body()).toString()).toBe(`${method} /framing ${body}`);
    const raw = pairs(lastSeen("/framing")?.rawHeaders ?? []).map((line) => line.toLowerCase());
    expect(raw.filter((line) => /^(?:content-length|transfer-encoding)/.test(line))).toEqual([framing]);
  });

  test("a body of unknown length is chunked, and a GET may have one", async () => {
    const stream = link.session.request({ method: "GET", path: "/chunked" }, null);
    await stream.write(Buffer.from("hel"));
    await stream.write(Buffer.from("lo"));
    stream.finish();
    expect((await stream.body()).toString()).toBe("GET /chunked hello");
    expect(pairs(lastSeen("/chunked")?.rawHeaders ?? [])).toContain("transfer-encoding: chunked");
  });

  test.each([
    [
      "two lengths",
      [
        ["content-length", "1"],
        ["Content-Length", "2"],
      ],
      "x",
    ],
    ["a length that isn't one", [["content-length", "1x"]], "x"],
    ["more than it says", [["content-length", "1"]], "xy"],
    ["less than it says", [["content-length", "3"]], "xy"],
  ] as const)("a body with %s is refused, and never reaches the service", async (_, headers, body) => {
    const given = headers.map(([name, value]): [string, string] => [name, value]);
    const stream = link.session.request(
      { method: "POST", path: "/smuggled", headers: given },
      Buffer.from(body),
    );
    await expect(stream.head()).rejects.toThrow("reset: protocol");
    expect(lastSeen("/smuggled")).toBeUndefined();
  });

  test("a streamed body that is longer than it says is cut off at its length", async () => {
    const headers: RawHeaders = [
      ["host", "a"],
      ["content-length", "3"],
    ];
    const stream = link.session.request({ method: "POST", path: "/smuggled2", headers }, null);
    await stream.write(Buffer.from("GET /smuggled3 HTTP/1.1\r\n\r\n"));
    await expect(stream.head()).rejects.toThrow("reset: protocol");
    expect(local.seen.some(({ url }) => url.startsWith("/smuggled"))).toBe(false);
  });

  test("requests that ask for 100-continue are sent on at once", async () => {
    const headers: RawHeaders = [
      ["host", "a"],
      ["expect", "100-continue"],
    ];
    const stream = link.session.request({ method: "POST", path: "/continue", headers }, Buffer.from("body"));
    expect((await stream.body()).toString()).toBe("POST /continue body");
  });

  test("a service that answers before it has read the body, and hangs up, is heard", async () => {
    const stream = link.session.request({ method: "POST", path: "/early" }, null);
    expect((await stream.head()).status).toBe(413);
    expect((await stream.body()).toString()).toBe("too much");
    await stream.write(Buffer.alloc(300_000));
    stream.finish();
    expect((await get("/after-early").body()).toString()).toBe("GET /after-early ");
  });

  test("an answer that takes longer than connections are kept comes", async () => {
    expect((await get("/late?ms=3000").body()).toString()).toBe("late");
  });

  test.each([
    ["unknown", "unreachable"],
    ["gone", "unreachable"],
  ])("a service that is %s resets the stream", async (service, code) => {
    const stream = link.session.request({ service, path: "/" });
    await expect(stream.head()).rejects.toThrow(`reset: ${code}`);
  });

  test("what isn't HTTP, and status codes that the wire doesn't carry, reset the stream only", async () => {
    const answers = [
      "SSH-2.0-x\r\n",
      "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ];
    for (const answer of answers) {
      const odd = createServer((socket) => {
        socket.on("error", () => undefined);
        socket.end(answer);
      });
      await new Promise<void>((resolve) => odd.listen(0, "127.0.0.1", resolve));
      const port = (odd.address() as AddressInfo).port;
      const stream = link.session.request({ service: `port:${port}`, path: "/" });
      await expect(stream.head()).rejects.toThrow("reset: protocol");
      odd.close();
    }
    expect(link.closed).toBeNull();
  });

  test("a service that breaks off its answer resets the stream", async () => {
    const stream = get("/abort");
    expect((await stream.head()).status).toBe(200);
    await expect(stream.body()).rejects.toThrow("reset: unreachable");
  });

  test("a client that goes away is seen by the service", async () => {
    const stream = get("/blocks?count=100000");
    await stream.head();
    stream.cancel();
    await until(
      () => local.broken,
      (broken) => broken.includes("/blocks?count=100000"),
    );
  });

  test("64 MiB come through whole, in bounded memory", async () => {
    await collect(link);
    const before = runner.residentMiB();
    const stream = get("/blocks?count=256");
    const hash = createHash("sha256");
    let most = 0;
    const started = performance.now();
    for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
      hash.update(chunk);
      most = Math.max(most, runner.residentMiB());
    }
    const seconds = (performance.now() - started) / 1000;
    expect(hash.digest("hex")).toBe(blocksHash(256));
    console.log(
      `${runtime}: 64 MiB down at ${(64 / seconds).toFixed(0)} MiB/s, +${(most - before).toFixed(0)} MiB resident`,
    );
    expect(most - before).toBeLessThan(120);
  });

  test("64 MiB go through whole, in bounded memory", async () => {
    await collect(link);
    const before = runner.residentMiB();
    const stream = link.session.request({ method: "POST", path: "/hash" }, null);
    let most = 0;
    const started = performance.now();
    for (let n = 0; n < 256; n += 1) {
      await stream.write(BLOCK);
      most = Math.max(most, runner.residentMiB());
    }
    stream.finish();
    expect((await stream.body()).toString()).toBe(blocksHash(256));
    const seconds = (performance.now() - started) / 1000;
    console.log(
      `${runtime}: 64 MiB up at ${(64 / seconds).toFixed(0)} MiB/s, +${(most - before).toFixed(0)} MiB resident`,
    );
    expect(most - before).toBeLessThan(120);
  });

  test("slow readers slow nobody else, however many they are", async () => {
    const slow = Array.from({ length: 60 }, () => get("/blocks?count=16"));
    await Promise.all(slow.map((stream) => stream.head()));
    await sleep(300);
    const quick = get("/blocks?count=64");
    expect(
      createHash("sha256")
        .update(await quick.body())
        .digest("hex"),
    ).toBe(blocksHash(64));
    const waiting = slow.reduce((sum, stream) => sum + stream.receivedBytes, 0);
    expect(waiting).toBeLessThan(16 * 1024 * 1024);
    const bodies = await Promise.all(slow.map((stream) => stream.body()));
    expect(bodies.every((body) => body.length === 16 * BLOCK.length)).toBe(true);
  });

  test("a service that doesn't read holds back its own upload only", async () => {
    const deaf = link.session.request({ method: "POST", path: "/deaf" }, null);
    const writing = deaf.write(Buffer.alloc(8 * 1024 * 1024)).catch(() => "cut");
    await sleep(300);
    const stream = link.session.request({ method: "POST", path: "/hash" }, null);
    for (let n = 0; n < 32; n += 1) await stream.write(BLOCK);
    stream.finish();
    expect((await stream.body()).toString()).toBe(blocksHash(32));
    deaf.cancel();
    expect(await writing).toBe("cut");
  });

  test("frames that wait together are one message, and streams take turns", async () => {
    link.session.keepMessages = true;
    await Promise.all(Array.from({ length: 50 }, (_, n) => get(`/small?${n}`).body()));
    const messages = link.session.messages.splice(0);
    expect(messages.length).toBeLessThan(50);
    await Promise.all([get("/blocks?count=16").body(), get("/blocks?count=16").body()]);
    const sizes = link.session.messages
      .splice(0)
      .map((frames) => frames.reduce((sum, size) => sum + size, 0));
    link.session.keepMessages = false;
    expect(Math.max(...sizes)).toBeLessThanOrEqual(256 * 1024);
  });

  test("500 requests at once, more than once", async () => {
    for (let round = 0; round < 3; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 500 }, async (_, n) => (await get(`/n${n}`).body()).toString()),
      );
      expect(answers.every((answer, n) => answer === `GET /n${n} `)).toBe(true);
    }
    expect(link.session.open).toBe(0);
  });

  test("the runner's own API is a service that nothing but the hub reaches", async () => {
    const headers: RawHeaders = [
      ["host", "x"],
      ["x-signalbox-internal", "guess"],
    ];
    const echo = link.session.request(
      { service: "@runner", method: "PUT", path: "/echo/a%20b/c", headers },
      Buffer.from("hi"),
    );
    expect((await echo.head()).headers).toContainEqual(["x-rest", "a b/c"]);
    expect((await echo.body()).toString()).toBe("hi");
    const unknown = link.session.request({ service: "@runner", path: "/nothing" });
    expect((await unknown.head()).status).toBe(404);
    expect(JSON.parse((await unknown.body()).toString())).toMatchObject({ code: "not_found" });
    const wrong = link.session.request({ service: "@runner", path: "/echo/x" });
    expect((await wrong.head()).status).toBe(405);
  });

  describe("WebSockets", () => {
    const open = (path: string, headers: RawHeaders = []) =>
      link.session.request({ path, headers: [["host", "app.example"], ...headers], webSocket: true });

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
      const seen = pairs(lastSeen("/ws/%2e%2e/x?token=1")?.rawHeaders ?? []).map((line) =>
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
        () => local.sockets.closeCodes,
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
      await collect(link);
      const before = runner.residentMiB();
      const socket = open("/ws");
      await socket.head();
      socket.say("flood 200");
      let most = 0;
      for (let n = 0; n < 200; n += 1) {
        expect((await socket.hear()).bytes.equals(BLOCK)).toBe(true);
        most = Math.max(most, runner.residentMiB());
      }
      expect(most - before).toBeLessThan(120);
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
      const socket = open("/ws");
      await socket.head();
      await until(
        () => local.sockets.open,
        (count) => count === 1,
      );
      socket.cancel();
      await until(
        () => local.sockets.open,
        (count) => count === 0,
      );
    });

    test("a refused upgrade is an ordinary answer", async () => {
      const socket = open("/refused");
      expect(await socket.head()).toMatchObject({ status: 403 });
      expect((await socket.body()).toString()).toBe("not you");
      const gone = link.session.request({ service: "gone", path: "/", webSocket: true });
      await expect(gone.head()).rejects.toThrow("reset: unreachable");
    });
  });

  test("open streams are told per service", async () => {
    const streams = [
      get("/events"),
      get("/events"),
      link.session.request({ service: "six", path: "/events" }),
    ];
    await Promise.all(streams.map((stream) => stream.head()));
    const asked = link.events.length;
    link.command("runner-health-check", {}, "streams");
    const status = await link.event("runner-status", (event) => event.commandId === "streams");
    expect(link.events.length).toBeGreaterThan(asked);
    expect(status["payload"]).toMatchObject({ streams: { app: 2, six: 1 } });
    for (const stream of streams) stream.cancel();
  });

  test("memory returns to where it was", async () => {
    const before = await collect(link);
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(Array.from({ length: 200 }, (_, n) => get(`/m${n}`).body()));
      const cancelled = Array.from({ length: 50 }, () => get("/blocks?count=1000"));
      await Promise.all(cancelled.map((stream) => stream.head()));
      for (const stream of cancelled) stream.cancel();
    }
    await sleep(500);
    const after = await collect(link);
    console.log(
      `${runtime}: heap ${mebibytes(before.heapUsed)} to ${mebibytes(after.heapUsed)} MiB, resident ${mebibytes(after.rss)} MiB`,
    );
    expect(after.heapUsed - before.heapUsed).toBeLessThan(8 * 1024 * 1024);
    expect(after.arrayBuffers ?? 0).toBeLessThan((before.arrayBuffers ?? 0) + 8 * 1024 * 1024);
  });

  test("frames that no hub sends end the session and nothing else", async () => {
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
      current.session.raw(message);
      expect(await current.end(), name).toMatchObject({ code: 1002 });
      link = await hub.connection(index);
    }
    link.socket.send("{ this is no command");
    expect(await link.end()).toMatchObject({ code: 1002 });
    link = await hub.connection(hub.connections.length);
    expect((await get("/after-all").body()).toString()).toBe("GET /after-all ");
    expect(runner.child.exitCode).toBeNull();
  });
});

function open(stream: number, end = true, path = "/deaf") {
  const head = { service: "app", method: "POST", path, headers: [], webSocket: false };
  return encodeFrame({ type: "open", stream, head, body: new Uint8Array(0), end });
}

interface Memory {
  heapUsed: number;
  rss: number;
  arrayBuffers?: number;
}

/** The runner's memory after a garbage collection. */
async function collect(link: HubConnection): Promise<Memory> {
  const stream = link.session.request({ service: "@runner", path: "/memory/now" });
  return JSON.parse((await stream.body()).toString()) as Memory;
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1);
}
