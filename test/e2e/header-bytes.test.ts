import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { putApp } from "../helpers/deploy.ts";
import { byRunner, byUrl } from "../helpers/backend-kind.ts";
import { HANDSHAKE, header, headers, rawGet, rawRequest, type RawAnswer } from "../helpers/raw-http.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";

/** Strings of this file hold bytes, one character each. */
const utf8 = (text: string): string => Buffer.from(text).toString("latin1");

let stack: TestStack;
let backend: Server;
/** The head of the last request but verification's. */
let asked = "";
/** Status line and headers of the next answers. */
let answer: { status: string; lines: string[] };
const tunnel = byRunner();
const ways = { url: "url.test", tunnel: "tunnel.test" };

beforeAll(async () => {
  answer = { status: "200 OK", lines: [] };
  backend = createServer((socket) => {
    let received = "";
    socket.on("error", () => undefined);
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      received += chunk;
      if (!received.includes("\r\n\r\n")) return;
      if (received.startsWith("GET /x ")) asked = received;
      const { status, lines } = answer;
      const head = [`HTTP/1.1 ${status}`, ...lines];
      const isHandshake = status.startsWith("101");
      if (isHandshake) {
        const key = /^sec-websocket-key:\s*(\S+)/im.exec(received)?.[1] ?? "";
        const accept = createHash("sha1")
          .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
          .digest("base64");
        head.push("connection: upgrade", "upgrade: websocket", `sec-websocket-accept: ${accept}`);
      } else head.push("content-length: 0", "connection: close");
      socket.write(`${head.join("\r\n")}\r\n\r\n`, "latin1");
      if (!isHandshake) socket.end();
      received = "";
    });
  }).listen(0, "127.0.0.1");
  await once(backend, "listening");
  stack = await startTestStack();
  await tunnel.begin(stack);
  const url = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
  for (const [app, host] of Object.entries(ways))
    await putApp(stack, app, { hosts: [host], contract: "none" });
  await byUrl.deploy(stack, "url", "v1", url);
  await tunnel.deploy(stack, "tunnel", "v1", url);
});

afterAll(async () => {
  backend.close();
  await tunnel.end();
  await stack.stop();
});

const texts: [what: string, bytes: string][] = [
  ["two bytes a character", utf8("Łódź é")],
  ["three and four bytes a character", utf8("日本語 😀 \ufeff")],
  ["every character from U+0080 to U+07FF", utf8(range(0x80, 0x7ff))],
  ["every last byte of a character", utf8(range(0x10_000, 0x10_0ff))],
  ["8 KB", utf8("тест".repeat(1_000))],
  ["a byte order mark first", utf8("\ufeffx")],
  ["already encoded twice", utf8(utf8("é"))],
  ["the replacement character", utf8("\ufffd")],
];

function range(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, at) => String.fromCodePoint(from + at)).join("");
}

/** The values of a header in the request that the backend got. */
function valuesAsked(name: string): string[] {
  const lines = asked.split("\r\n").filter((line) => line.toLowerCase().startsWith(`${name}:`));
  return lines.map((line) => line.slice(name.length + 1).trimStart());
}

const ask = (host: string, lines = {}): Promise<RawAnswer> =>
  rawRequest(stack.port, rawGet(host, "/x", lines));

describe.each(Object.entries(ways))("by %s", (_, host) => {
  test("a tab in a status text costs the answer nothing", async () => {
    answer = { status: "200 a\tb", lines: ["x-text: 1", "set-cookie: a=1", "set-cookie: b=2"] };
    const got = await ask(host);
    expect(got.status).toBe(200);
    expect(header(got, "x-text")).toBe("1");
    expect(headers(got, "set-cookie")).toEqual(["a=1", "b=2"]);
  });

  describe.each(texts)("%s", (_what, bytes) => {
    test("in a request arrives as it was sent", async () => {
      answer = { status: "200 OK", lines: [] };
      const sent = { "x-text": bytes, cookie: `name=${bytes}; a=1`, "content-disposition": bytes };
      expect((await ask(host, sent)).status).toBe(200);
      for (const [name, value] of Object.entries(sent)) expect(valuesAsked(name)).toEqual([value]);
    });

    test("in an answer arrives as it was sent", async () => {
      const cookies = [`name=${bytes}`, "other=1", `third=${bytes}`];
      const lines = [`content-disposition: attachment; filename="${bytes}.pdf"`, `x-text: ${bytes}`];
      answer = { status: `200 ${bytes}`, lines: [...lines, ...cookies.map((one) => `set-cookie: ${one}`)] };
      const got = await ask(host);
      expect(got.status).toBe(200);
      // workerd's own fetch drops it.
      if (host === ways.tunnel) expect(got.reason).toBe(bytes);
      expect(header(got, "content-disposition")).toBe(`attachment; filename="${bytes}.pdf"`);
      expect(header(got, "x-text")).toBe(bytes);
      expect(headers(got, "set-cookie")).toEqual(cookies);
    });

    test("in a WebSocket's handshake arrives both ways as it was sent", async () => {
      answer = {
        status: "101 Switching Protocols",
        lines: [`x-text: ${bytes}`, `set-cookie: name=${bytes}`],
      };
      asked = "";
      const sent = { ...HANDSHAKE, "x-text": bytes, cookie: `name=${bytes}` };
      const got = await ask(host, sent);
      expect(got.status).toBe(101);
      expect(header(got, "x-text")).toBe(bytes);
      expect(headers(got, "set-cookie")).toEqual([`name=${bytes}`]);
      expect(valuesAsked("x-text")).toEqual([bytes]);
      expect(valuesAsked("cookie")).toEqual([`name=${bytes}`]);
    });
  });
});

/** workerd shows a script each of these bytes as U+FFFD, and writes nothing but UTF-8 for it. */
describe("bytes that aren't UTF-8", () => {
  const LATIN1 = Array.from({ length: 0x80 }, (_, at) => String.fromCharCode(0x80 + at));
  const BROKEN = ["\xc5", "\xe9a", "a\xe9", "\xed\xa0\x80", "\xc0\x80", "\xff\xfe", "\xc3\xa9\xe9"];

  test("arrive by a URL as they were sent", async () => {
    for (const bytes of [LATIN1.join("-"), ...BROKEN]) {
      answer = { status: "200 OK", lines: [`x-text: ${bytes}`] };
      const got = await ask(ways.url, { "x-text": bytes });
      expect(header(got, "x-text")).toBe(bytes);
      expect(valuesAsked("x-text")).toEqual([bytes]);
    }
  });

  test("become U+FFFD in a request through the tunnel", async () => {
    for (const bytes of [...LATIN1, ...BROKEN]) {
      answer = { status: "200 OK", lines: [] };
      expect((await ask(ways.tunnel, { "x-text": bytes, cookie: `a=1; b=${bytes}` })).status).toBe(200);
      const decoded = utf8(Buffer.from(bytes, "latin1").toString());
      expect(valuesAsked("x-text")).toEqual([decoded]);
      expect(valuesAsked("cookie")).toEqual([`a=1; b=${decoded}`]);
    }
  });

  test("are Latin-1 in an answer through the tunnel, and leave as UTF-8", async () => {
    for (const bytes of [LATIN1.join(""), ...LATIN1, ...BROKEN]) {
      answer = { status: `200 ${bytes}`, lines: [`x-text: a${bytes}b`, `set-cookie: name=${bytes};`] };
      const got = await ask(ways.tunnel);
      expect(got.reason).toBe(utf8(bytes));
      expect(header(got, "x-text")).toBe(utf8(`a${bytes}b`));
      expect(headers(got, "set-cookie")).toEqual([`name=${utf8(bytes)};`]);
    }
  });

  test("pass a WebSocket's handshake too", async () => {
    answer = { status: "101 Switching Protocols", lines: ["x-text: a\xe9b"] };
    const got = await ask(ways.tunnel, { ...HANDSHAKE, "x-text": "a\xe9b" });
    expect(got.status).toBe(101);
    expect(header(got, "x-text")).toBe("a\xc3\xa9b");
    expect(valuesAsked("x-text")).toEqual(["a\xef\xbf\xbdb"]);
  });

  test("in a header's name get the same answer by a URL and through the tunnel", async () => {
    answer = { status: "200 OK", lines: [] };
    for (const name of ["x-\xe9", utf8("x-é")]) {
      const byUrlStatus = (await ask(ways.url, { [name]: "1" })).status;
      expect((await ask(ways.tunnel, { [name]: "1" })).status).toBe(byUrlStatus);
    }
  });
});
