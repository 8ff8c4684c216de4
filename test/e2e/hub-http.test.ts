import { createHash, randomBytes } from "node:crypto";
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CONNECTION_WINDOW_BYTES, STALLED_READER_MS } from "../../functions/protocol/limits.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { header, headers, rawGet, rawRequest } from "../helpers/raw-http.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { until } from "../helpers/stack.ts";
import { standsStill } from "../helpers/stands-still.ts";
import { connectRunner, type TunnelClient } from "../helpers/tunnel-client.ts";

let world: UpstashStack;
let runner: TunnelClient;
let backend: Server;
let handle: (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

const HOST = "tunnel.test";

beforeAll(async () => {
  world = await onUpstash();
  backend = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
  const { port } = backend.address() as AddressInfo;
  runner = await connectRunner(world.stack, "r1", { "app/v1": port });
  await putRunnerApp(world.store, { app: "tunnel", host: HOST, runnerId: "r1", service: "app/v1" });
});

afterAll(async () => {
  await runner.close();
  await world.stop();
  backend.closeAllConnections();
  backend.close();
});

beforeEach(() => {
  runner.intercept = () => false;
});

function get(path: string, extra: Record<string, string> = {}) {
  return rawRequest(world.stack.port, rawGet(HOST, path, extra));
}

function sha(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

/** A request of a client that can be broken off and read slowly. */
function open(path: string, method = "GET", extra: Record<string, string> = {}) {
  return httpRequest({
    host: "127.0.0.1",
    port: world.stack.port,
    path,
    method,
    headers: { host: HOST, ...extra },
    agent: false,
  });
}

function answerOf(request: ReturnType<typeof open>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on("response", resolve);
    request.on("error", reject);
  });
}

function bytesOf(answers: ServerResponse[]): number {
  return answers.reduce((sum, { socket }) => sum + (socket?.bytesWritten ?? 0), 0);
}

describe("a request through the tunnel", () => {
  test("arrives as it was sent, without what is nobody's business", async () => {
    let seen: IncomingMessage | undefined;
    handle = (request, response) => {
      seen = request;
      response.end("ok");
    };
    const answer = await get("/a/../b//c?x=%2F&y=ä".replace("ä", "%C3%A4"), {
      cookie: "a=1; b=2",
      "accept-encoding": "gzip, br",
      "x-signalbox-hub": "forged",
      "x-forwarded-for": "6.6.6.6",
    });
    expect([answer.status, answer.body.toString()]).toEqual([200, "ok"]);
    expect(seen?.url).toBe("/a/../b//c?x=%2F&y=%C3%A4");
    expect(seen?.headers).toMatchObject({
      host: HOST,
      cookie: "a=1; b=2",
      "accept-encoding": "gzip, br",
      "x-forwarded-host": HOST,
      "x-forwarded-for": "127.0.0.1",
    });
    expect(Object.keys(seen?.headers ?? {}).filter((name) => name.startsWith("x-signalbox-"))).toEqual([]);
    expect(header(answer, "x-pulse-selected-deployment")).toBe("v1");
  });

  test("is answered with duplicate headers, statuses and texts as they are", async () => {
    handle = (_request, response) => {
      response.writeHead(418, "Short And Stout", [
        ["set-cookie", "a=1; Path=/"],
        ["set-cookie", "b=2, with comma"],
        ["x-kept", "yes"],
        ["content-type", "text/plain"],
      ] as unknown as string[]);
      response.end("tea");
    };
    const answer = await get("/");
    expect([answer.status, answer.reason, answer.body.toString()]).toEqual([418, "Short And Stout", "tea"]);
    expect(headers(answer, "set-cookie")).toEqual(["a=1; Path=/", "b=2, with comma"]);
    expect(header(answer, "x-kept")).toBe("yes");
  });

  test.each([
    ["204", "GET", 204, {}],
    ["304 with its validators", "GET", 304, { etag: '"x"' }],
    ["HEAD with a length", "HEAD", 200, { "content-length": "1234", etag: '"y"' }],
    ["a redirect", "GET", 302, { location: "/elsewhere?a=b" }],
    ["an empty 200", "GET", 200, { "content-length": "0" }],
    ["a range", "GET", 206, { "content-range": "bytes 0-0/5", "content-length": "0" }],
  ])("%s stays what it is", async (_name, method, status, fields) => {
    handle = (_request, response) => void response.writeHead(status, fields).end();
    const request = rawGet(HOST, "/").replace("GET", method);
    const answer = await rawRequest(world.stack.port, request, { method });
    expect(answer.status).toBe(status);
    expect(answer.complete).toBe(true);
    for (const [name, value] of Object.entries(fields)) expect(header(answer, name)).toBe(value);
  });

  test.each(["gzip", "br", "zstd", "identity"])("%s bytes pass untouched", async (encoding) => {
    const bytes = encoding === "gzip" ? gzipSync("hello ".repeat(100)) : randomBytes(300);
    handle = (_request, response) => {
      response.writeHead(200, { "content-encoding": encoding, "content-type": "text/plain" });
      response.write(bytes.subarray(0, 10));
      setTimeout(() => response.end(bytes.subarray(10)), 20);
    };
    const answer = await get("/", { "accept-encoding": "gzip, br, zstd" });
    expect(header(answer, "content-encoding")).toBe(encoding);
    expect(answer.body.equals(bytes)).toBe(true);
  });

  test("shows the first server-sent event while the stream goes on", async () => {
    let finish = (): void => {};
    handle = (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: one\n\n");
      finish = () => response.end("data: two\n\n");
    };
    const request = open("/events");
    request.end();
    const answer = await answerOf(request);
    const chunks: string[] = [];
    answer.on("data", (chunk: Buffer) => chunks.push(chunk.toString()));
    await until(
      () => chunks.join(""),
      (text) => text === "data: one\n\n",
    );
    finish();
    await until(
      () => chunks.join(""),
      (text) => text === "data: one\n\ndata: two\n\n",
    );
  });

  test("with a chunked body arrives whole", async () => {
    let body = "";
    handle = async (request, response) => {
      for await (const chunk of request) body += String(chunk);
      response.end(String(request.headers["transfer-encoding"] ?? request.headers["content-length"]));
    };
    const request = open("/upload", "POST");
    request.write("one ");
    await new Promise((resolve) => setTimeout(resolve, 30));
    request.end("two");
    const answer = await answerOf(request);
    for await (const chunk of answer) expect(String(chunk)).toBe("chunked");
    expect(body).toBe("one two");
  });

  test("moves 64 MiB each way with nothing lost", async () => {
    const up = randomBytes(64 * 1024 * 1024);
    const down = randomBytes(64 * 1024 * 1024);
    handle = async (request, response) => {
      const hash = createHash("sha256");
      for await (const chunk of request) hash.update(chunk as Buffer);
      response.writeHead(200, { "content-length": down.length, "x-sha": hash.digest("hex") });
      response.end(down);
    };
    const request = open("/large", "POST", { "content-length": String(up.length) });
    request.end(up);
    const answer = await answerOf(request);
    const hash = createHash("sha256");
    for await (const chunk of answer) hash.update(chunk as Buffer);
    expect(answer.headers["x-sha"]).toBe(sha(up));
    expect(hash.digest("hex")).toBe(sha(down));
    expect(answer.headers["content-length"]).toBe(String(down.length));
  });

  test("isn't slowed by another stream's slow reader", async () => {
    const large = randomBytes(32 * 1024 * 1024);
    const sent: ServerResponse[] = [];
    handle = (request, response) => {
      if (request.url === "/slow") sent.push(response);
      response.end(request.url === "/slow" ? large : "quick");
    };
    const slow = open("/slow");
    slow.end();
    const slowAnswer = await answerOf(slow);
    slowAnswer.pause();
    await standsStill(() => bytesOf(sent));
    const startedAt = performance.now();
    for (let count = 0; count < 20; count++) expect((await get("/quick")).body.toString()).toBe("quick");
    // Well before the slow one would be given up.
    expect(performance.now() - startedAt).toBeLessThan(STALLED_READER_MS / 2);
    const hash = createHash("sha256");
    for await (const chunk of slowAnswer) hash.update(chunk as Buffer);
    expect(hash.digest("hex")).toBe(sha(large));
  });

  test("isn't stopped by clients that take nothing of what would fill the connection", async () => {
    const large = Buffer.alloc(64 * 1024 * 1024);
    const sent: ServerResponse[] = [];
    handle = (request, response) => {
      if (request.url === "/idle") sent.push(response);
      response.end(request.url === "/idle" ? large : "quick");
    };
    const idle = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const request = open("/idle");
        request.end();
        const answer = await answerOf(request);
        answer.on("error", () => undefined);
        answer.pause();
        return request;
      }),
    );
    await standsStill(() => bytesOf(sent));
    // What they are allowed to hold back is all used up; they are given up, and it goes on.
    expect((await get("/quick")).body.toString()).toBe("quick");
    for (const request of idle) request.destroy();
  });

  test("with a body isn't stopped by services that take nothing of theirs", async () => {
    handle = (request, response) => void request.resume().on("end", () => response.end("stored"));
    const stuck = new Set<number>();
    let heldBytes = 0;
    runner.intercept = (frame) => {
      if (frame.type === "open" && frame.head.path === "/stuck") stuck.add(frame.stream);
      if (!stuck.has(frame.stream)) return false;
      if (frame.type === "data") heldBytes += frame.body.byteLength;
      return true;
    };
    const body = Buffer.alloc(2 * 1024 * 1024);
    const uploads = Array.from({ length: 30 }, () => {
      const request = open("/stuck", "POST", { "content-length": String(body.length) });
      request.on("error", () => undefined);
      request.end(body);
      return request;
    });
    await until(
      () => heldBytes,
      (bytes) => bytes >= CONNECTION_WINDOW_BYTES * 0.4,
    );
    for (let count = 0; count < 10; count++) {
      const quick = open("/quick", "POST");
      quick.end(Buffer.alloc(200_000));
      const answer = await answerOf(quick);
      expect(await text(answer)).toBe("stored");
    }
    for (const stream of stuck) runner.send({ type: "reset", stream, code: "overflow", reason: "stuck" });
    for (const request of uploads) request.destroy();
    runner.send({ type: "window", stream: 0, bytes: heldBytes });
  });

  test("with a body isn't stopped by another app that takes nothing of three hundred", async () => {
    await putRunnerApp(world.store, { app: "hung", host: "hung.test", runnerId: "r1", service: "hung/v1" });
    handle = (request, response) => void request.resume().on("end", () => response.end("stored"));
    const stuck = new Set<number>();
    let heldBytes = 0;
    runner.intercept = (frame) => {
      if (frame.type === "open" && frame.head.service === "hung/v1") stuck.add(frame.stream);
      if (!stuck.has(frame.stream)) return false;
      if (frame.type === "data") heldBytes += frame.body.byteLength;
      return true;
    };
    const body = Buffer.alloc(128 * 1024);
    const uploads = Array.from({ length: 300 }, () => {
      const request = open("/stuck", "POST", { host: "hung.test", "content-length": String(body.length) });
      request.on("error", () => undefined);
      request.end(body);
      return request;
    });
    await standsStill(() => heldBytes);
    expect(heldBytes).toBeLessThan(CONNECTION_WINDOW_BYTES * 0.8);
    for (let count = 0; count < 20; count++) {
      const quick = open("/quick", "POST");
      quick.end(Buffer.alloc(200_000));
      expect(await text(await answerOf(quick))).toBe("stored");
    }
    for (const stream of stuck) runner.send({ type: "reset", stream, code: "overflow", reason: "stuck" });
    for (const request of uploads) request.destroy();
    runner.send({ type: "window", stream: 0, bytes: heldBytes });
  });

  test("that its client breaks off breaks off at the backend", async () => {
    const ends: string[] = [];
    handle = (request, response) => {
      const timer = setInterval(() => response.write("more\n"), 20);
      response.on("close", () => {
        clearInterval(timer);
        ends.push(response.writableFinished ? "finished" : "broken off");
      });
      request.on("error", () => undefined);
    };
    const download = open("/download");
    download.end();
    const answer = await answerOf(download);
    answer.on("error", () => undefined);
    download.destroy();
    await until(
      () => ends.length,
      (count) => count === 1,
    );
    const begun = Promise.withResolvers<void>();
    handle = (request) => {
      request.on("data", () => begun.resolve());
      request.on("error", () => undefined);
      request.on("close", () => ends.push(request.complete ? "finished" : "broken off"));
    };
    const upload = open("/upload", "POST", { "content-length": "1000000" });
    upload.on("error", () => undefined);
    upload.write(randomBytes(1000));
    await begun.promise;
    upload.destroy();
    await until(
      () => ends,
      (seen) => seen.length === 2,
    );
    expect(ends).toEqual(["broken off", "broken off"]);
  });

  test.each([
    ["with a length", { "content-length": "1000" }],
    ["without one", {}],
  ])("whose backend breaks off %s never looks complete", async (_name, fields) => {
    handle = (_request, response) => {
      response.writeHead(200, fields);
      response.write("some");
      setTimeout(() => response.destroy(), 50);
    };
    const answer = await get("/");
    expect(answer.complete).toBe(false);
  });

  test("to a service that isn't there is a 502, and one that is too large a 431", async () => {
    await putRunnerApp(world.store, { app: "gone", host: "gone.test", runnerId: "r1", service: "nothing" });
    const gone = await rawRequest(world.stack.port, rawGet("gone.test", "/"));
    expect([gone.status, JSON.parse(gone.body.toString()).code]).toEqual([502, "upstream_unreachable"]);
    await putRunnerApp(world.store, { app: "off", host: "off.test", runnerId: "nobody", service: "x" });
    const off = await rawRequest(world.stack.port, rawGet("off.test", "/"));
    expect([off.status, JSON.parse(off.body.toString()).code]).toEqual([503, "runner_offline"]);
  });

  test("whose answer can't be HTTP resets its stream, and the connection goes on", async () => {
    handle = (_request, response) => void response.end("fine");
    const bad = [
      { status: 150, statusText: "", headers: [] },
      { status: 101, statusText: "", headers: [] },
      { status: 200, statusText: "\u0007", headers: [] },
    ];
    for (const head of bad) {
      runner.intercept = (frame, send) => {
        if (frame.type !== "open") return frame.type === "reset";
        send({ type: "head", stream: frame.stream, head, body: new Uint8Array(0), end: true });
        return true;
      };
      const answer = await get("/");
      expect([answer.status, JSON.parse(answer.body.toString()).code]).toEqual([502, "stream_reset"]);
    }
    runner.intercept = () => false;
    expect((await get("/")).body.toString()).toBe("fine");
  });

  test("with a path that isn't ASCII doesn't end the connection", async () => {
    handle = (request, response) => void response.end(request.url);
    const answer = await rawRequest(
      world.stack.port,
      Buffer.from(`GET /caf\u00e9\u00a0\u3000x HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`, "utf8"),
    );
    expect([answer.status, answer.body.toString()]).toEqual([200, "/caf%C3%A9%C2%A0%E3%80%80x"]);
    expect((await get("/after")).body.toString()).toBe("/after");
  });
});
