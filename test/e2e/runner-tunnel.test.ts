import { createHash } from "node:crypto";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import type { RawHeaders } from "../../functions/protocol/frames.ts";
import { BLOCK, blocksHash, GZIPPED } from "../helpers/local-service.ts";
import { until } from "../helpers/stack.ts";
import { standsStill } from "../helpers/stands-still.ts";
import { collect, headerLines, describeTunnel, type Memory } from "../helpers/tunnel-world.ts";

describeTunnel("the tunnel", (world, runtime) => {
  const get = (path: string, headers: RawHeaders = [["host", "app.example"]]) =>
    world.link.streams.request({ path, headers });
  const lastSeen = (url: string) => world.local.seen.findLast((request) => request.url === url);

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
    expect(headerLines(lastSeen("/headers")?.rawHeaders ?? [])).toEqual([
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

  test("bytes above 0x7f pass both ways, and an older Worker's text arrives as UTF-8", async () => {
    await get("/headers", [
      ["host", "app.example"],
      ["x-bytes", "\u00c3\u00a9 \u00e9"],
      ["x-text", "тест"],
    ]).body();
    expect(headerLines(lastSeen("/headers")?.rawHeaders ?? [])).toEqual(
      expect.arrayContaining([
        "x-bytes: \u00c3\u00a9 \u00e9",
        `x-text: ${Buffer.from("тест").toString("latin1")}`,
      ]),
    );
  });

  test.each([204, 304])("%i has no body and keeps its headers", async (code) => {
    const stream = get(`/bare?code=${code}`);
    const head = await stream.head();
    expect(head.status).toBe(code);
    expect(head.headers).toContainEqual(["etag", '"x"']);
    expect((await stream.body()).length).toBe(0);
  });

  test("an answer to HEAD keeps the length that it doesn't have", async () => {
    const stream = world.link.streams.request({ method: "HEAD", path: "/status?code=200" });
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
      () => world.local.broken,
      (broken) => broken.includes("/events"),
    );
  });

  test("a service that listens on IPv6's localhost only is reached", async () => {
    const stream = world.link.streams.request({ service: "six", path: "/six" });
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
    const stream = world.link.streams.request(
      { method, path: "/framing", headers: given },
      Buffer.from(body),
    );
    expect((await stream.body()).toString()).toBe(`${method} /framing ${body}`);
    const raw = headerLines(lastSeen("/framing")?.rawHeaders ?? []).map((line) => line.toLowerCase());
    expect(raw.filter((line) => /^(?:content-length|transfer-encoding)/.test(line))).toEqual([framing]);
  });

  test("a body of unknown length is chunked, and a GET may have one", async () => {
    const stream = world.link.streams.request({ method: "GET", path: "/chunked" }, null);
    await stream.write(Buffer.from("hel"));
    await stream.write(Buffer.from("lo"));
    stream.finish();
    expect((await stream.body()).toString()).toBe("GET /chunked hello");
    expect(headerLines(lastSeen("/chunked")?.rawHeaders ?? [])).toContain("transfer-encoding: chunked");
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
    const stream = world.link.streams.request(
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
    const stream = world.link.streams.request({ method: "POST", path: "/smuggled2", headers }, null);
    await stream.write(Buffer.from("GET /smuggled3 HTTP/1.1\r\n\r\n"));
    await expect(stream.head()).rejects.toThrow("reset: protocol");
    expect(world.local.seen.some(({ url }) => url.startsWith("/smuggled"))).toBe(false);
  });

  test("requests that ask for 100-continue are sent on at once", async () => {
    const headers: RawHeaders = [
      ["host", "a"],
      ["expect", "100-continue"],
    ];
    const stream = world.link.streams.request(
      { method: "POST", path: "/continue", headers },
      Buffer.from("body"),
    );
    expect((await stream.body()).toString()).toBe("POST /continue body");
  });

  test("a service that answers before it has read the body, and hangs up, is heard", async () => {
    const stream = world.link.streams.request({ method: "POST", path: "/early" }, null);
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
    const stream = world.link.streams.request({ service, path: "/" });
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
      const stream = world.link.streams.request({ service: `port:${port}`, path: "/" });
      await expect(stream.head()).rejects.toThrow("reset: protocol");
      odd.close();
    }
    expect(world.link.closed).toBeNull();
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
      () => world.local.broken,
      (broken) => broken.includes("/blocks?count=100000"),
    );
  });

  test("64 MiB come through whole, in bounded memory", async () => {
    await collect(world.link);
    const before = world.runner.allocatedMiB();
    const stream = get("/blocks?count=256");
    const hash = createHash("sha256");
    let most = 0;
    const started = performance.now();
    for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
      hash.update(chunk);
      most = Math.max(most, world.runner.allocatedMiB());
    }
    const seconds = (performance.now() - started) / 1000;
    expect(hash.digest("hex")).toBe(blocksHash(256));
    console.log(
      `${runtime}: 64 MiB down at ${(64 / seconds).toFixed(0)} MiB/s, +${(most - before).toFixed(0)} MiB resident`,
    );
    expect(most - before).toBeLessThan(120);
  });

  test("64 MiB go through whole, in bounded memory", async () => {
    await collect(world.link);
    const before = world.runner.allocatedMiB();
    const stream = world.link.streams.request({ method: "POST", path: "/hash" }, null);
    let most = 0;
    const started = performance.now();
    for (let n = 0; n < 256; n += 1) {
      await stream.write(BLOCK);
      most = Math.max(most, world.runner.allocatedMiB());
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
    await standsStill(() => slow.reduce((sum, stream) => sum + stream.receivedBytes, 0));
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
    const deaf = world.link.streams.request({ method: "POST", path: "/deaf" }, null);
    const writing = deaf.write(Buffer.alloc(8 * 1024 * 1024)).catch(() => "cut");
    await until(
      () => deaf.sendCredit.bytes,
      (credit) => credit === 0,
    );
    const stream = world.link.streams.request({ method: "POST", path: "/hash" }, null);
    for (let n = 0; n < 32; n += 1) await stream.write(BLOCK);
    stream.finish();
    expect((await stream.body()).toString()).toBe(blocksHash(32));
    deaf.cancel();
    expect(await writing).toBe("cut");
  });

  test("frames that wait together are one message, and streams take turns", async () => {
    world.link.streams.keepMessages = true;
    const small = Array.from({ length: 50 }, () => get("/held"));
    await until(
      () => world.local.held,
      (held) => held === 50,
    );
    world.local.release();
    await Promise.all(small.map((stream) => stream.body()));
    const messages = world.link.streams.messages.splice(0);
    expect(messages.length).toBeLessThan(50);
    await Promise.all([get("/blocks?count=16").body(), get("/blocks?count=16").body()]);
    const sizes = world.link.streams.messages
      .splice(0)
      .map((frames) => frames.reduce((sum, size) => sum + size, 0));
    world.link.streams.keepMessages = false;
    expect(Math.max(...sizes)).toBeLessThanOrEqual(512 * 1024);
  });

  test("500 requests at once, more than once", async () => {
    for (let round = 0; round < 3; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 500 }, async (_, n) => (await get(`/n${n}`).body()).toString()),
      );
      expect(answers.every((answer, n) => answer === `GET /n${n} `)).toBe(true);
    }
    expect(world.link.streams.open).toBe(0);
  });

  test("the runner's own API is a service that nothing but the hub reaches", async () => {
    const headers: RawHeaders = [
      ["host", "x"],
      ["x-signalbox-internal", "guess"],
    ];
    const echo = world.link.streams.request(
      { service: "@runner", method: "PUT", path: "/echo/a%20b/c", headers },
      Buffer.from("hi"),
    );
    expect((await echo.head()).headers).toContainEqual(["x-rest", "a b/c"]);
    expect((await echo.body()).toString()).toBe("hi");
    const unknown = world.link.streams.request({ service: "@runner", path: "/nothing" });
    expect((await unknown.head()).status).toBe(404);
    expect(JSON.parse((await unknown.body()).toString())).toMatchObject({ code: "not_found" });
    const wrong = world.link.streams.request({ service: "@runner", path: "/echo/x" });
    expect((await wrong.head()).status).toBe(405);
  });

  test("open streams are told per service", async () => {
    const streams = [
      get("/events"),
      get("/events"),
      world.link.streams.request({ service: "six", path: "/events" }),
    ];
    await Promise.all(streams.map((stream) => stream.head()));
    const asked = world.link.events.length;
    world.link.command("runner-health-check", {}, "streams");
    const status = await world.link.event("runner-status", (event) => event.commandId === "streams");
    expect(world.link.events.length).toBeGreaterThan(asked);
    expect(status["payload"]).toMatchObject({ streams: { app: 2, six: 1 } });
    for (const stream of streams) stream.cancel();
  });

  test("memory returns to where it was", async () => {
    const before = await collect(world.link);
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(Array.from({ length: 200 }, (_, n) => get(`/m${n}`).body()));
      const cancelled = Array.from({ length: 50 }, () => get("/blocks?count=1000"));
      await Promise.all(cancelled.map((stream) => stream.head()));
      for (const stream of cancelled) stream.cancel();
    }
    const grown = (after: Memory): number =>
      Math.max(after.heapUsed - before.heapUsed, (after.arrayBuffers ?? 0) - (before.arrayBuffers ?? 0));
    const after = await until(
      () => collect(world.link),
      (seen) => grown(seen) < 8 * 1024 * 1024,
    );
    console.log(`${runtime}: heap ${mebibytes(before.heapUsed)} to ${mebibytes(after.heapUsed)} MiB`);
  });
});

function mebibytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1);
}
