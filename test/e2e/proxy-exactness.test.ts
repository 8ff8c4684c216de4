import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { putApp } from "../helpers/deploy.ts";
import { byUrl, type BackendKind } from "../helpers/backend-kind.ts";
import { header, headers, rawGet, rawRequest, readAnswer, type RawAnswer } from "../helpers/raw-http.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

const HOST = "exact.test";
/** Where the backends of all tests stand; tunnel-exactness.test.ts has them elsewhere. */
export const backends: { kind: BackendKind } = { kind: byUrl };

let stack: TestStack;
let origin: Server;
/** What the backend does with the next requests; each test sets its own. */
let handle: RequestListener;
/** Instead of a plain echo. */
let onUpgrade: ((request: IncomingMessage, socket: Socket, head: Buffer) => void) | null;
let onWebSocket: (socket: WebSocket, request: IncomingMessage) => void;
const webSockets = new WebSocketServer({
  noServer: true,
  handleProtocols: (offered) => (offered.has("chat.v2") ? "chat.v2" : false),
  perMessageDeflate: true,
});

beforeAll(async () => {
  stack = await startTestStack();
  await backends.kind.begin(stack);
  handle = (_, response) => void response.end("ok");
  origin = createServer({ maxHeaderSize: 64 * 1024 }, (request, response) => handle(request, response));
  origin.keepAliveTimeout = 120_000;
  origin.on("upgrade", (request, socket: Socket, head) => {
    socket.on("error", () => undefined);
    if (onUpgrade) onUpgrade(request, socket, head);
    else webSockets.handleUpgrade(request, socket, head, (webSocket) => onWebSocket(webSocket, request));
  });
  await listen(origin);
  await putApp(stack, "exact", { hosts: [HOST], contract: "none" });
  await backends.kind.deploy(stack, "exact", "v1", urlOf(origin));
});

beforeEach(() => {
  handle = (_, response) => void response.end("ok");
  onUpgrade = null;
  onWebSocket = (socket) => {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  };
});

afterAll(async () => {
  for (const client of webSockets.clients) client.terminate();
  origin.closeAllConnections();
  origin.close();
  await backends.kind.end();
  await stack.stop();
});

async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<void> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
}

function urlOf(server: { address(): ReturnType<Server["address"]> }): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function get(path = "/", extra: Record<string, string> = {}): Promise<RawAnswer> {
  return rawRequest(stack.port, rawGet(HOST, path, extra));
}

/** A request with a body of known length. */
function send(method: string, path: string, body: string | Buffer, extra: string[] = []): Promise<RawAnswer> {
  const bytes = Buffer.from(body);
  const lines = [`host: ${HOST}`, `content-length: ${bytes.length}`, ...extra].join("\r\n");
  return rawRequest(
    stack.port,
    Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines}\r\n\r\n`), bytes]),
    {
      method,
    },
  );
}

/** Answers what it was asked: method, URL, headers and body. */
function echo(request: IncomingMessage, response: ServerResponse): void {
  void (async () => {
    const body = await buffer(request);
    response.setHeader("x-method", request.method ?? "");
    response.setHeader("x-length", request.headers["content-length"] ?? "none");
    response.setHeader("x-coding", request.headers["transfer-encoding"] ?? "none");
    response.setHeader("x-url", request.url ?? "");
    response.end(body);
  })();
}

describe("an answer", () => {
  test("keeps its cookies apart and in order", async () => {
    handle = (_, response) => {
      response.setHeader("set-cookie", ["a=1; Path=/; Expires=Wed, 01 Jan 2031 00:00:00 GMT", "b=2", "a=3"]);
      response.end();
    };
    const answer = await get();
    expect(headers(answer, "set-cookie")).toEqual([
      "a=1; Path=/; Expires=Wed, 01 Jan 2031 00:00:00 GMT",
      "b=2",
      "a=3",
    ]);
  });

  test("keeps both values of a header that came twice", async () => {
    handle = (_, response) => {
      response.setHeader("link", ["</a.css>; rel=preload", "</b.js>; rel=preload"]);
      response.end();
    };
    expect(headers(await get(), "link").join(", ")).toBe("</a.css>; rel=preload, </b.js>; rel=preload");
  });

  test("of 304 has no body and keeps its validators", async () => {
    handle = (request, response) => {
      response.writeHead(request.headers["if-none-match"] === '"x"' ? 304 : 200, {
        etag: '"x"',
        vary: "Accept",
      });
      response.end();
    };
    const answer = await get("/", { "if-none-match": '"x"' });
    expect(answer).toMatchObject({ status: 304, complete: true });
    expect(header(answer, "etag")).toBe('"x"');
    expect(header(answer, "vary")).toBe("Accept, x-pulse-deployment, x-deployment-id, x-netlify-deploy-id");
  });

  test.each([204, 205, 304])("of %i leaves the connection in order for the next request", async (status) => {
    handle = (request, response) => {
      response.writeHead(request.url === "/next" ? 200 : status);
      response.end(request.url === "/next" ? "next" : undefined);
    };
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(rawGet(HOST, "/first"));
    expect((await readAnswer(socket)).status).toBe(status);
    socket.removeAllListeners("data");
    socket.write(rawGet(HOST, "/next"));
    expect((await readAnswer(socket)).body.toString()).toBe("next");
    socket.destroy();
  });

  test("to HEAD keeps the length of what it doesn't send", async () => {
    handle = (request, response) => {
      response.writeHead(200, {
        "content-length": "123456",
        "content-type": "video/mp4",
        "x-method": request.method,
      });
      response.end();
    };
    const answer = await rawRequest(stack.port, rawGet(HOST, "/").replace("GET", "HEAD"), { method: "HEAD" });
    expect(answer.status).toBe(200);
    expect(header(answer, "x-method")).toBe("HEAD");
    expect(header(answer, "content-length")).toBe("123456");
    expect(header(answer, "content-type")).toBe("video/mp4");
  });

  test("to HEAD keeps length and coding of a compressed one", async () => {
    handle = (_, response) => {
      response.writeHead(200, { "content-length": "77", "content-encoding": "gzip" });
      response.end();
    };
    const answer = await rawRequest(stack.port, rawGet(HOST, "/").replace("GET", "HEAD"), { method: "HEAD" });
    expect(header(answer, "content-length")).toBe("77");
    expect(header(answer, "content-encoding")).toBe("gzip");
  });

  test("to a range request is that range", async () => {
    const whole = Buffer.from("0123456789".repeat(100));
    handle = (request, response) => {
      expect(request.headers["range"]).toBe("bytes=10-19");
      expect(request.headers["if-range"]).toBe('"e"');
      response.writeHead(206, {
        "content-range": "bytes 10-19/1000",
        "content-length": "10",
        "accept-ranges": "bytes",
      });
      response.end(whole.subarray(10, 20));
    };
    const answer = await get("/", { range: "bytes=10-19", "if-range": '"e"' });
    expect(answer).toMatchObject({ status: 206, complete: true });
    expect(header(answer, "content-range")).toBe("bytes 10-19/1000");
    expect(header(answer, "content-length")).toBe("10");
    expect(answer.body.toString()).toBe("0123456789");
  });

  const text = Buffer.from("The quick brown fox jumps over the lazy dog. ".repeat(500));
  describe.each<[string, Buffer]>([
    ["gzip", gzipSync(text)],
    ["br", brotliCompressSync(text)],
    ["deflate", deflateSync(text)],
    ["zstd", zstdCompressSync(text)],
    ["gzip, br", brotliCompressSync(gzipSync(text))],
    ["identity", text],
    ["x-unheard-of", text],
    ["gzip", Buffer.from("this says gzip and isn't")],
    ["br", Buffer.from([0xff, 0x00, 0xfe, 0x01])],
  ])("with content-encoding %s", (coding, bytes) => {
    test.each<[string, Record<string, string>]>([
      ["asked for", { "accept-encoding": coding }],
      ["refused", { "accept-encoding": "identity" }],
      ["not mentioned", {}],
      ["of a range", { "accept-encoding": "*", range: "bytes=0-" }],
    ])("passes byte for byte when that was %s", async (_, extra) => {
      for (const framing of ["length", "chunks"]) {
        let accepted: string | undefined;
        handle = (request, response) => {
          accepted = request.headers["accept-encoding"];
          response.writeHead("range" in extra ? 206 : 200, {
            "content-encoding": coding,
            vary: "accept-encoding",
            ...(framing === "length" ? { "content-length": bytes.length } : {}),
          });
          response.write(bytes.subarray(0, 3));
          response.end(bytes.subarray(3));
        };
        const answer = await get("/", extra);
        expect(header(answer, "content-encoding")).toBe(coding);
        expect(answer.complete).toBe(true);
        expect(answer.body.equals(bytes)).toBe(true);
        if (framing === "length") expect(header(answer, "content-length")).toBe(String(bytes.length));
        expect(accepted).toBe(extra["accept-encoding"]);
      }
    });
  });

  test("may have 8 KB of headers", async () => {
    handle = (_, response) => void response.setHeader("x-large", "r".repeat(8_192)).end();
    expect(header(await get(), "x-large")).toBe("r".repeat(8_192));
  });

  test.each([301, 302, 303, 307, 308])(
    "of %i goes to the client with its Location as it is",
    async (status) => {
      for (const location of [
        "https://elsewhere.example/a?b=%20#c",
        "/relative/../x",
        "next",
        "//other.test/",
      ]) {
        handle = (_, response) => void response.writeHead(status, { location }).end("moved");
        const answer = await get();
        expect(answer.status).toBe(status);
        expect(header(answer, "location")).toBe(location);
        expect(answer.body.toString()).toBe("moved");
      }
    },
  );

  test.each([200, 201, 202, 203, 226, 299, 400, 401, 402, 407, 418, 421, 451, 499, 500, 502, 511, 520, 599])(
    "of %i keeps its status, reason and body",
    async (status) => {
      handle = (_, response) => void response.writeHead(status, "Quite Odd (really)").end("body");
      const answer = await get();
      expect(answer).toMatchObject({ status, reason: "Quite Odd (really)", complete: true });
      expect(answer.body.toString()).toBe("body");
    },
  );

  test("of a status that HTTP doesn't have is an error of the backend, and the edge lives on", async () => {
    const server = createTcpServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (data) => {
        const status = data.toString().startsWith("GET /odd ") ? "999 Odd" : "200 OK";
        socket.write(`HTTP/1.1 ${status}\r\ncontent-length: 2\r\n\r\nok`);
      });
    });
    await listen(server);
    await putApp(stack, "odd", { hosts: ["odd.test"], contract: "none" });
    await backends.kind.deploy(stack, "odd", "v1", urlOf(server));
    const answer = await rawRequest(stack.port, rawGet("odd.test", "/odd"));
    expect(answer.status).toBe(502);
    expect((await rawRequest(stack.port, rawGet("odd.test", "/"))).status).toBe(200);
    server.close();
  });

  test("that is preceded by early hints is the final one", async () => {
    handle = (_, response) => {
      response.writeEarlyHints({ link: "</a.css>; rel=preload" });
      response.end("final");
    };
    const answer = await get();
    expect(answer.status).toBe(200);
    expect(answer.body.toString()).toBe("final");
  });

  test("with trailers is whole without them", async () => {
    handle = (_, response) => {
      response.writeHead(200, { trailer: "x-checksum" });
      response.write("body");
      response.addTrailers({ "x-checksum": "1" });
      response.end();
    };
    const answer = await get();
    expect(answer).toMatchObject({ status: 200, complete: true });
    expect(answer.body.toString()).toBe("body");
  });

  test("loses the headers that were meant for one hop", async () => {
    handle = (_, response) => {
      response.writeHead(200, {
        connection: "keep-alive, x-hop",
        "x-hop": "1",
        "keep-alive": "timeout=5",
        "x-stays": "1",
      });
      response.end();
    };
    const answer = await get();
    expect(header(answer, "x-hop")).toBeUndefined();
    expect(header(answer, "keep-alive")).toBeUndefined();
    expect(header(answer, "x-stays")).toBe("1");
  });
});

describe("a request", () => {
  test("may have 8 KB of headers", async () => {
    handle = (request, response) => void response.end(request.headers["x-large"]);
    expect((await get("/", { "x-large": "q".repeat(8_192) })).body.toString()).toBe("q".repeat(8_192));
  });

  test.each([
    "/a%20b?x=%20+;|%C3%A9&y=%2F%2f&&=&z",
    "/?",
    "/p?",
    "/p?a=1&a=2&a[]=3",
    "/p?q=a+b%2Bc;d|e{f}[g]^~!*()",
    "/p?%E9=%ff",
    "/p?x=//y/../z\\w",
    "/p?x=%zz%",
    "//double//slash//?//",
    "/a%2Fb%2fc%5Cd",
    "/%C3%A9/%e2%9c%93/%F0%9F%9A%82",
    "/a;b=c;d/e,f/(g)!*",
    "/it's|a|pipe",
    "/%",
    "/trailing/",
    "/trailing.",
    `/${"long/".repeat(1_000)}`,
  ])("has its path and query spelled as they were: %s", async (path) => {
    handle = echo;
    expect(header(await get(path), "x-url")).toBe(path);
  });

  test.each([
    // As the URL standard has it, which every browser has done already; workerd's fetch takes nothing else.
    ["/p?name=o'brien", "/p?name=o%27brien"],
    ["/{a}^b", "/%7Ba%7D%5Eb"],
    ["/a/./b/../c", "/a/c"],
    ["/a\\b", "/a/b"],
  ])("is at most spelled as the URL standard has it where a client doesn't: %s", async (path, standard) => {
    handle = echo;
    expect(header(await get(path), "x-url")).toBe(backends.kind.is.verbatim ? path : standard);
  });

  test.each(["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "MKCOL"])(
    "by %s has its body and its length",
    async (method) => {
      handle = echo;
      const answer = await send(method, "/", "a body with \u00e9 and \0");
      expect(answer.status).toBe(200);
      expect(header(answer, "x-method")).toBe(method);
      expect(header(answer, "x-length")).toBe("20");
      expect(answer.body.toString()).toBe("a body with \u00e9 and \0");
    },
  );

  test("by GET may have a body too", async () => {
    handle = echo;
    const answer = await send("GET", "/_search", "{}");
    expect(answer.status).toBe(200);
    expect(answer.body.toString()).toBe("{}");
  });

  test.each(["POST", "PUT", "PATCH", "DELETE"])("by %s may have an empty body", async (method) => {
    handle = echo;
    const answer = await send(method, "/", "");
    expect(header(answer, "x-method")).toBe(method);
    expect(header(answer, "x-length")).toBe("0");
    expect(answer.body).toHaveLength(0);
  });

  test.each(["CONNECT", "NONSENSE"])("by %s gets an answer, and not from the backend", async (method) => {
    let seen = 0;
    handle = (_, response) => {
      seen += 1;
      response.end();
    };
    const answer = await rawRequest(stack.port, rawGet(HOST, "/").replace("GET", method), { method });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(seen).toBe(0);
  });

  test("in chunks arrives whole, in chunks", async () => {
    handle = echo;
    const body = "5\r\nhello\r\n1\r\n \r\n5;ext=1\r\nworld\r\n0\r\n\r\n";
    const answer = await rawRequest(
      stack.port,
      `POST / HTTP/1.1\r\nhost: ${HOST}\r\ntransfer-encoding: chunked\r\n\r\n${body}`,
    );
    expect(answer.body.toString()).toBe("hello world");
    expect(header(answer, "x-coding")).toBe("chunked");
    expect(header(answer, "x-length")).toBe("none");
  });

  test("with trailers arrives whole", async () => {
    handle = echo;
    const answer = await rawRequest(
      stack.port,
      `POST / HTTP/1.1\r\nhost: ${HOST}\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n` +
        "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
    );
    // workerd's server reads no trailers and says so; what matters is that the body is never cut or mixed up.
    if (answer.status === 200) expect(answer.body.toString()).toBe("hello");
    else expect(answer.status).toBe(400);
    expect((await get()).status).toBe(200);
  });

  test("that waits for 100 Continue is answered, and its body arrives", async () => {
    handle = echo;
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(`POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n`);
    const interim = once(socket, "data").then(([data]: Buffer[]) => data?.toString() ?? "");
    const first = await Promise.race([
      interim,
      new Promise<string>((resolve) => setTimeout(resolve, 2_000, "silence")),
    ]);
    // RFC 9110, section 10.1.1: a client doesn't wait for ever, so silence is allowed.
    expect(first).toMatch(/^HTTP\/1\.1 100 |^silence$/);
    socket.write("hello");
    const answer = await readAnswer(socket);
    expect(answer.status).toBe(200);
    expect(answer.body.toString()).toBe("hello");
    socket.destroy();
  });

  test("arrives while it is still being sent", async () => {
    const first = Promise.withResolvers<string>();
    handle = (request, response) => {
      request.once("data", (data: Buffer) => first.resolve(data.toString()));
      request.on("end", () => response.end("done"));
    };
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(`POST / HTTP/1.1\r\nhost: ${HOST}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n`);
    expect(await first.promise).toBe("first");
    socket.write("0\r\n\r\n");
    expect((await readAnswer(socket)).body.toString()).toBe("done");
    socket.destroy();
  });

  test("can be answered before it is all sent", async () => {
    handle = (_, response) => void response.writeHead(413, { connection: "close" }).end("too large");
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(`POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 10000000\r\n\r\nstart`);
    expect((await readAnswer(socket)).status).toBe(413);
    socket.destroy();
  });

  test.each<[string, string, string]>([
    ["both a length and chunks", "content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"],
    ["chunks and then a length", "transfer-encoding: chunked\r\ncontent-length: 3", "3\r\nabc\r\n0\r\n\r\n"],
    ["two lengths", "content-length: 3\r\ncontent-length: 30", "abc"],
    ["two equal lengths", "content-length: 3\r\ncontent-length: 3", "abc"],
    ["a list of lengths", "content-length: 3, 3", "abc"],
    ["a signed length", "content-length: +3", "abc"],
    ["a length in hexadecimal", "content-length: 0x3", "abc"],
    ["a coding that isn't chunked", "transfer-encoding: xchunked", "abc"],
    ["chunked twice", "transfer-encoding: chunked, chunked", "0\r\n\r\n"],
    ["chunked with a tab", "transfer-encoding:\tchunked", "3\r\nabc\r\n0\r\n\r\n"],
    ["a space before the colon", "transfer-encoding : chunked", "3\r\nabc\r\n0\r\n\r\n"],
    ["a length that Connection takes away", "connection: content-length\r\ncontent-length: 3", "abc"],
    [
      "chunks that Connection takes away",
      "connection: transfer-encoding\r\ntransfer-encoding: chunked",
      "3\r\nabc\r\n0\r\n\r\n",
    ],
  ])("with %s can't smuggle another one to the backend", async (_, framing, body) => {
    const seen: string[] = [];
    handle = (request, response) => {
      const { "content-length": length, "transfer-encoding": coding } = request.headers;
      if (length !== undefined && coding !== undefined) seen.push("two framings");
      void (async () => {
        const text = (await buffer(request)).toString();
        seen.push(`${request.method} ${request.url} ${text.includes("smuggled")}`);
        response.end("ok");
      })();
    };
    const smuggled = `GET /smuggled HTTP/1.1\r\nhost: ${HOST}\r\nx-signalbox-smuggled: 1\r\n\r\n`;
    const socket = connect(stack.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(`POST /first HTTP/1.1\r\nhost: ${HOST}\r\n${framing}\r\n\r\n${body}`);
    const first = await readAnswer(socket).catch(() => null);
    socket.destroy();
    if (first?.status === 200) expect(seen).toEqual(["POST /first false"]);
    else expect(seen).toEqual([]);

    seen.length = 0;
    const both = connect(stack.port, "127.0.0.1");
    both.on("error", () => undefined);
    both.write(`POST /first HTTP/1.1\r\nhost: ${HOST}\r\n${framing}\r\n\r\n${body}${smuggled}`);
    await readAnswer(both).catch(() => null);
    both.destroy();
    // What comes behind is either refused or a request like any other, which went through the edge.
    expect(seen).not.toContain("two framings");
    expect(seen.filter((each) => each.endsWith("true"))).toEqual([]);
    expect((await get("/after")).status).toBe(200);
  });

  test("that is pipelined behind another is answered in its turn", async () => {
    handle = (request, response) => void response.end(request.url);
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(rawGet(HOST, "/1") + rawGet(HOST, "/2") + rawGet(HOST, "/3", { connection: "close" }));
    const text = (await buffer(socket)).toString();
    expect(text.match(/\r\n\r\n(\/\d)/g)?.map((found) => found.trim())).toEqual(["/1", "/2", "/3"]);
  });
});

describe("a client that leaves", () => {
  test("during an upload ends the backend's request", async () => {
    const gone = Promise.withResolvers<boolean>();
    const started = Promise.withResolvers<void>();
    handle = (request) => {
      request.once("data", () => started.resolve());
      request.on("error", () => undefined);
      request.on("close", () => gone.resolve(request.complete));
    };
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(`POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 1000000\r\n\r\nstart`);
    await started.promise;
    socket.destroy();
    expect(await gone.promise).toBe(false);
  });

  test("during a chunked upload never makes it look complete", async () => {
    const gone = Promise.withResolvers<boolean>();
    const started = Promise.withResolvers<void>();
    handle = (request) => {
      request.once("data", () => started.resolve());
      request.on("error", () => undefined);
      request.on("close", () => gone.resolve(request.complete));
    };
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(`POST / HTTP/1.1\r\nhost: ${HOST}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nstart\r\n`);
    await started.promise;
    socket.destroy();
    expect(await gone.promise).toBe(false);
  });

  test("during a download ends the backend's answer", async () => {
    const gone = Promise.withResolvers<void>();
    handle = (_, response) => {
      const writing = setInterval(() => response.write("x".repeat(1_000)), 5);
      response.on("close", () => {
        clearInterval(writing);
        gone.resolve();
      });
    };
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(rawGet(HOST, "/"));
    await once(socket, "data");
    socket.destroy();
    await gone.promise;
  });

  test("before there is an answer ends the backend's request", async () => {
    const gone = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    handle = (_, response) => {
      started.resolve();
      response.on("close", () => gone.resolve());
    };
    const socket = connect(stack.port, "127.0.0.1");
    socket.write(rawGet(HOST, "/"));
    await started.promise;
    // Only a reset can be seen while nothing is being sent: a mere end may be half a connection.
    socket.resetAndDestroy();
    await gone.promise;
  });
});

test("an event of a stream arrives before the next one is produced", async () => {
  const heard = Promise.withResolvers<void>();
  handle = (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    response.write("data: 1\n\n");
    void heard.promise.then(() => response.end("data: 2\n\n"));
  };
  const socket = connect(stack.port, "127.0.0.1");
  socket.write(rawGet(HOST, "/"));
  let text = "";
  for await (const chunk of socket) {
    text += String(chunk);
    if (text.includes("data: 1\n\n")) heard.resolve();
    if (text.includes("data: 2\n\n")) break;
  }
  expect(text).toContain("data: 2\n\n");
});

describe("a backend that fails", () => {
  test.each<[string, Record<string, string>]>([
    ["of known length", { "content-length": "100000" }],
    ["in chunks", {}],
    ["in chunks, compressed", { "content-encoding": "gzip" }],
  ])("in the middle of an answer %s breaks the transfer, and doesn't end it", async (_, extra) => {
    handle = (_request, response) => {
      response.writeHead(200, extra);
      response.write("x".repeat(50_000), () => setImmediate(() => response.socket?.resetAndDestroy()));
    };
    const answer = await get().catch((error: Error) => error.message);
    if (typeof answer === "string") {
      expect(answer).toContain("ended before a head");
      expect(backends.kind.is.brokenAtOnce).toBe(true);
      return;
    }
    expect(answer.status).toBe(200);
    expect(answer.complete).toBe(false);
    expect(answer.body.length).toBeLessThanOrEqual(50_000);
  });

  test("to listen is 502 with its code, and names the deployment that was meant", async () => {
    const server = createServer((_, response) => response.end("ok"));
    await listen(server);
    await putApp(stack, "dead", { hosts: ["dead.test"], contract: "none" });
    await backends.kind.deploy(stack, "dead", "v1", urlOf(server));
    server.closeAllConnections();
    server.close();
    for (const request of [rawGet("dead.test", "/"), rawGet("dead.test", "/").replace("GET", "POST")]) {
      const answer = await rawRequest(stack.port, request);
      expect(answer.status).toBe(502);
      expect(header(answer, "content-type")).toBe("application/problem+json");
      expect(header(answer, "cache-control")).toBe("no-store");
      expect(header(answer, "x-pulse-selected-deployment")).toBe("v1");
      expect(header(answer, "x-signalbox-route")).toBe("active");
      expect(JSON.parse(answer.body.toString())).toMatchObject({ status: 502, code: "upstream_unreachable" });
    }
  });

  test("by hanging up without an answer is 502, and a POST isn't sent twice", async () => {
    const seen: string[] = [];
    handle = (request) => {
      seen.push(request.method ?? "");
      request.socket.destroy();
    };
    expect((await send("POST", "/", "pay")).status).toBe(502);
    expect(seen).toEqual(["POST"]);
    seen.length = 0;
    expect((await get()).status).toBe(502);
    expect(seen).toEqual(backends.kind.is.askedAgain ? ["GET", "GET"] : ["GET"]);
  });

  test("by closing kept-alive connections just as they are used again never shows to a GET", async () => {
    let closed = 0;
    const used = new WeakSet<Socket>();
    handle = (request, response) => {
      if (used.has(request.socket)) {
        closed += 1;
        request.socket.destroy();
        return;
      }
      used.add(request.socket);
      response.end("ok");
    };
    for (let round = 0; round < 200; round++) expect((await get()).status).toBe(200);
    expect(closed).toBeGreaterThan(0);
  });

  test("by giving idle connections almost no time never shows to a GET either", async () => {
    const server = createServer((_, response) => response.end("ok"));
    server.keepAliveTimeout = 1;
    await listen(server);
    await putApp(stack, "hasty", { hosts: ["hasty.test"], contract: "none" });
    await backends.kind.deploy(stack, "hasty", "v1", urlOf(server));
    for (let round = 0; round < 100; round++) {
      const request = (): Promise<RawAnswer> => rawRequest(stack.port, rawGet("hasty.test", "/"));
      const answers = await Promise.all([request(), request(), request()]);
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    }
    server.close();
  });
});

describe("a WebSocket", () => {
  async function open(path = "/socket", protocols: string[] = [], host = HOST): Promise<WebSocket> {
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}${path}`, protocols, { headers: { host } });
    socket.on("error", () => undefined);
    await once(socket, "open");
    return socket;
  }

  async function message(socket: WebSocket): Promise<{ data: Buffer; binary: boolean }> {
    const [data, binary]: unknown[] = await once(socket, "message");
    if (!Buffer.isBuffer(data)) throw new Error("not a buffer");
    return { data, binary: binary === true };
  }

  test("carries text and bytes both ways as what they are", async () => {
    const socket = await open();
    socket.send("h\u00e9llo");
    expect(await message(socket)).toEqual({ data: Buffer.from("h\u00e9llo"), binary: false });
    socket.send(Buffer.from([0, 255, 128, 10]));
    expect(await message(socket)).toEqual({ data: Buffer.from([0, 255, 128, 10]), binary: true });
    socket.send("");
    expect(await message(socket)).toEqual({ data: Buffer.alloc(0), binary: false });
    socket.terminate();
  });

  test("carries a message of 1 MiB", async () => {
    const socket = await open();
    const large = Buffer.alloc(1 << 20, "0123456789abcdef!");
    socket.send(large);
    expect((await message(socket)).data.equals(large)).toBe(true);
    socket.terminate();
  });

  test("keeps the order of many messages", async () => {
    const socket = await open();
    const received: string[] = [];
    const all = Promise.withResolvers<void>();
    socket.on("message", (data: Buffer) => {
      if (received.push(data.toString()) === 1_000) all.resolve();
    });
    const sent = Array.from({ length: 1_000 }, (_, index) => String(index));
    for (const each of sent) socket.send(each);
    await all.promise;
    expect(received).toEqual(sent);
    socket.terminate();
  });

  test("agrees on the subprotocol that the backend chose, and names the deployment", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}/`, ["chat.v1", "chat.v2"], {
      headers: { host: HOST },
    });
    const upgraded = once(socket, "upgrade");
    await once(socket, "open");
    const [response]: IncomingMessage[] = await upgraded;
    expect(socket.protocol).toBe("chat.v2");
    expect(response?.statusCode).toBe(101);
    expect(response?.headers["x-pulse-selected-deployment"]).toBe("v1");
    expect(response?.headers["x-signalbox-route"]).toBe("active");
    socket.terminate();
  });

  test("reaches the backend with its path, its cookies and its origin", async () => {
    const seen = Promise.withResolvers<IncomingMessage>();
    onWebSocket = (_, request) => seen.resolve(request);
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}/a%2Fb?c=%20`, {
      headers: { host: HOST, cookie: "a=1; b=2" },
      origin: "https://page.test",
    });
    await once(socket, "open");
    const request = await seen.promise;
    expect(request.url).toBe("/a%2Fb?c=%20");
    expect(request.headers).toMatchObject({ cookie: "a=1; b=2", origin: "https://page.test" });
    socket.terminate();
  });

  test("answers a ping", async () => {
    const socket = await open();
    const pong = once(socket, "pong");
    socket.ping("are you there");
    const [data]: Buffer[] = await pong;
    expect(data?.toString()).toBe("are you there");
    socket.terminate();
  });

  test("tells the client with which code and reason the backend closed", async () => {
    onWebSocket = (socket) => socket.close(4_001, "superseded \u2713");
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}/`, { headers: { host: HOST } });
    // workerd keeps the TCP connection for ten seconds of a socket behind a runner that never said anything.
    socket.on("open", () => socket.send("hello"));
    const [code, reason]: unknown[] = await once(socket, "close");
    expect(code).toBe(4_001);
    expect(String(reason)).toBe("superseded \u2713");
  });

  test("tells the backend with which code and reason the client closed", async () => {
    const closed = Promise.withResolvers<[number, string]>();
    onWebSocket = (socket) => socket.on("close", (code, reason) => closed.resolve([code, String(reason)]));
    const socket = await open();
    socket.close(4_002, "leaving");
    expect(await closed.promise).toEqual([4_002, "leaving"]);
  });

  test("closes without a code when one side gives none", async () => {
    const closed = Promise.withResolvers<number>();
    onWebSocket = (socket) => socket.on("close", (code) => closed.resolve(code));
    const socket = await open();
    socket.close();
    expect(await closed.promise).toBe(1_005);
  });

  test("ends at the client when the backend's connection breaks", async () => {
    onWebSocket = (socket) => socket.on("message", () => socket.terminate());
    const socket = await open();
    socket.send("die");
    const [code]: unknown[] = await once(socket, "close");
    expect(code).toBe(backends.kind.is.brokenCode);
  });

  test("ends at the backend when the client's connection breaks", async () => {
    const closed = Promise.withResolvers<number>();
    onWebSocket = (socket) => socket.on("close", (code) => closed.resolve(code));
    const socket = await open();
    socket.terminate();
    expect(await closed.promise).toBe(1_006);
  });

  test("that the backend refuses gets the refusal", async () => {
    onUpgrade = (_, socket) => {
      socket.end(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\nx-why: because\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
      );
    };
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}/`, { headers: { host: HOST } });
    socket.on("error", () => undefined);
    const [, response]: IncomingMessage[] = await once(socket, "unexpected-response");
    if (!response) throw new Error("no answer");
    expect(response.statusCode).toBe(403);
    expect(response.headers["x-why"]).toBe("because");
    expect(response.headers["x-pulse-selected-deployment"]).toBe("v1");
    expect((await buffer(response)).toString()).toBe("no");
  });

  test("that the backend takes for a plain request gets its answer", async () => {
    onUpgrade = (_, socket) =>
      socket.end("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nplain");
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}/`, { headers: { host: HOST } });
    socket.on("error", () => undefined);
    const [, response]: IncomingMessage[] = await once(socket, "unexpected-response");
    expect(response?.statusCode).toBe(200);
    response?.destroy();
  });
});

test("two apps on two hosts don't mix, whatever runs at the same time", async () => {
  const other = createServer((request, response) => response.end(`other ${request.url}`));
  await listen(other);
  await putApp(stack, "other", { hosts: ["other.test"], contract: "none" });
  await backends.kind.deploy(stack, "other", "v1", urlOf(other));
  handle = (request, response) => void response.end(`exact ${request.url}`);
  await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const [host, name] = index % 2 === 0 ? [HOST, "exact"] : ["other.test", "other"];
      const answer = await rawRequest(stack.port, rawGet(host, `/${index}`));
      expect(answer.body.toString()).toBe(`${name} /${index}`);
    }),
  );
  const onOneConnection = connect(stack.port, "127.0.0.1");
  onOneConnection.write(rawGet(HOST, "/a") + rawGet("other.test", "/b", { connection: "close" }));
  const text = (await buffer(onOneConnection)).toString();
  expect(text).toContain("exact /a");
  expect(text).toContain("other /b");
  other.closeAllConnections();
  other.close();
  await until(
    () => rawRequest(stack.port, rawGet("other.test", "/")),
    ({ status }) => status === 502,
  );
});
