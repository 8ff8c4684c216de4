import { once } from "node:events";
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import type { ServerResponse } from "node:http";
import zlib from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { putApp } from "../helpers/deploy.ts";
import { byUrl, type BackendKind } from "../helpers/backend-kind.ts";
import { startPlainApp, type PlainApp } from "../helpers/plain-app.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** Where the backend stands; `tunnel-injection.test.ts` runs every case once more behind a runner. */
export const backends: { kind: BackendKind } = { kind: byUrl };

let stack: TestStack;
let backend: PlainApp;
const handlers = new Map<string, (request: IncomingMessage, response: ServerResponse) => void>();

beforeAll(async () => {
  [stack, backend] = await Promise.all([startTestStack(), startPlainApp("v1")]);
  backend.handler = (request, response) => {
    const handler = handlers.get((request.url ?? "").split("?", 1)[0] ?? "");
    handler?.(request, response);
    return handler !== undefined;
  };
  await backends.kind.begin(stack);
  for (const contract of ["edge", "none"]) {
    await putApp(stack, contract, { contract, hosts: [`${contract}.test`] });
    await backends.kind.deploy(stack, contract, "v1", backend.url);
  }
});

afterAll(async () => {
  await backends.kind.end();
  await backend.close();
  await stack.stop();
});

const NAVIGATION = {
  "sec-fetch-dest": "document",
  "sec-fetch-mode": "navigate",
  accept: "text/html,*/*;q=0.8",
};

interface Asked {
  contract?: string;
  method?: string;
  headers?: Record<string, string>;
}

async function ask(path: string, { contract = "edge", method = "GET", headers = {} }: Asked = {}) {
  const sent = httpRequest({
    port: stack.port,
    path,
    method,
    headers: { host: `${contract}.test`, ...NAVIGATION, ...headers },
    agent: false,
  });
  sent.end();
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  return answer;
}

interface Whole {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

async function whole(path: string, asked?: Asked): Promise<Whole> {
  const answer = await ask(path, asked);
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks) };
}

const SCRIPT =
  /<script src="\/_signalbox\/page\.js\?pulse_deployment=v1&amp;v=[0-9a-f]{10}"( nonce="[^"]*")?( data-no-socket)?><\/script>/;

const CODINGS = {
  identity: null,
  gzip: {
    encode: () => zlib.createGzip(),
    flush: zlib.constants.Z_SYNC_FLUSH,
    decode: () => zlib.createGunzip(),
  },
  br: {
    encode: () => zlib.createBrotliCompress(),
    flush: zlib.constants.BROTLI_OPERATION_FLUSH,
    decode: () => zlib.createBrotliDecompress(),
  },
  zstd: {
    encode: () => zlib.createZstdCompress(),
    flush: zlib.constants.ZSTD_e_flush,
    decode: () => zlib.createZstdDecompress(),
  },
} as const;
type CodingName = keyof typeof CODINGS;

/** A document that goes out piece by piece, each flushed, the next one when it is asked for. */
function streamed(
  path: string,
  coding: CodingName,
  pieces: string[],
  end: (response: ServerResponse) => void,
) {
  const { promise: begun, resolve: begin } = Promise.withResolvers<() => void>();
  handlers.set(path, (_, response) => {
    response.writeHead(200, {
      "content-type": "text/html; charset=utf-8",
      ...(coding === "identity" ? {} : { "content-encoding": coding }),
    });
    const engine = CODINGS[coding]?.encode();
    engine?.pipe(response, { end: false });
    engine?.on("end", () => end(response));
    let index = 0;
    const next = (): void => {
      const piece = pieces[index++];
      if (piece === undefined) {
        if (engine) engine.end();
        else end(response);
      } else if (engine) {
        engine.write(piece);
        engine.flush(CODINGS[coding]?.flush ?? 0);
      } else response.write(piece);
    };
    begin(next);
    next();
  });
  return begun;
}

const PIECES = [
  "<!doctype html><html><head>",
  "<title>é</title></head><body>",
  "<p>".repeat(30_000),
  "<p>the end",
];

test.each(Object.keys(CODINGS) as CodingName[])(
  "a document in %s streams on piece by piece, with the script first in its head",
  async (coding) => {
    const path = `/streamed-${coding}`;
    const begun = streamed(path, coding, PIECES, (response) => response.end());
    const answer = await ask(path, { headers: { "accept-encoding": "gzip, br, zstd" } });
    expect(answer.headers["content-encoding"]).toBe(coding === "identity" ? undefined : coding);
    const decoder = CODINGS[coding]?.decode();
    const body = decoder ? answer.pipe(decoder) : answer;
    let text = "";
    body.setEncoding("utf8");
    body.on("data", (chunk: string) => (text += chunk));
    const next = await begun;
    let sent = "";
    for (const piece of PIECES) {
      sent += piece;
      await until(
        () => text.replace(SCRIPT, "").length,
        (length) => length === sent.length,
      );
      next();
    }
    await once(body, "end");
    expect(text).toMatch(SCRIPT);
    expect(text.replace(SCRIPT, "")).toBe(sent);
    expect(text.indexOf("<script")).toBe("<!doctype html><html><head>".length);
  },
);

test.each(Object.keys(CODINGS) as CodingName[])(
  "a document in %s that is cut in its middle is cut for the visitor, too",
  async (coding) => {
    const path = `/cut-${coding}`;
    const begun = streamed(path, coding, PIECES, () => undefined);
    const answer = await ask(path, { headers: { "accept-encoding": "gzip, br, zstd" } });
    const ended = once(answer, "end").then(
      () => "whole",
      () => "cut",
    );
    answer.resume();
    const next = await begun;
    next();
    await once(answer, "readable").catch(() => undefined);
    backend.closeConnections();
    answer.resume();
    expect(await ended).toBe("cut");
  },
);

/** As the edge codes. */
const AT_ONCE = {
  gzip: (text: string) => zlib.gzipSync(text, { level: 5 }),
  br: (text: string) =>
    zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }),
  zstd: (text: string) => zlib.zstdCompressSync(text),
};

test.each(Object.keys(AT_ONCE) as (keyof typeof AT_ONCE)[])(
  "a large document in %s that comes at once stays small",
  async (coding) => {
    // Repetitive: a flush after each chunk would make it several times as large.
    const path = `/large-${coding}`;
    const text = `<!doctype html><html><head></head><body>${"<p>A paragraph.</p>\n".repeat(50_000)}</body></html>`;
    const coded = AT_ONCE[coding](text);
    handlers.set(path, (_, response) => {
      response.writeHead(200, { "content-type": "text/html", "content-encoding": coding }).end(coded);
    });
    const { body } = await whole(path, { headers: { "accept-encoding": "gzip, br, zstd" } });
    expect(body.length).toBeLessThan(coded.length * 2 + 512);
  },
);

test("a visitor who leaves in the middle of a document ends the backend's answer", async () => {
  let left = false;
  handlers.set("/left", (_, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    const timer = setInterval(() => response.write("<p>".repeat(1_000)), 10);
    response.on("close", () => {
      left = true;
      clearInterval(timer);
    });
  });
  const answer = await ask("/left");
  await once(answer, "data");
  answer.destroy();
  await until(
    () => left,
    (seen) => seen,
  );
});

interface Sent {
  status?: number;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

function answering(path: string, { status = 200, headers = {}, body = "" }: Sent): void {
  handlers.set(path, (request, response) => {
    response.writeHead(status, { "content-type": "text/html", etag: '"tag"', ...headers });
    response.end(request.method === "HEAD" ? undefined : body);
  });
}

test.each<[name: string, sent: Sent, asked: Asked, before: string]>([
  ["without a head", { body: "<p>text" }, {}, ""],
  ["without anything", { body: "text" }, {}, ""],
  ["that is empty", { body: "" }, {}, ""],
  [
    "in a frame",
    { body: "<html><head></head>" },
    { headers: { "sec-fetch-dest": "iframe" } },
    "<html><head>",
  ],
  ["that is 404", { status: 404, body: "<html><body>no" }, {}, "<html>"],
  ["that is 500", { status: 500, body: "<!doctype html><title>no" }, {}, "<!doctype html>"],
  ["after a form", { status: 422, body: "<p>again" }, { method: "POST" }, ""],
  ["of an older browser", { body: "<p>x" }, { headers: { "sec-fetch-dest": "" } }, ""],
  [
    "with a nonce",
    { headers: { "content-security-policy": "script-src 'nonce-abc' 'strict-dynamic'" }, body: "<p>x" },
    {},
    "",
  ],
  [
    "with Latin letters",
    { headers: { "content-type": "text/html; charset=iso-8859-1" }, body: Buffer.from("<p>\xe9", "latin1") },
    {},
    "",
  ],
  [
    "that is prefetched",
    { body: "<p>x" },
    { headers: { "sec-fetch-dest": "empty", "sec-purpose": "prefetch" } },
    "",
  ],
])("a document %s gets the script", async (name, sent, asked, before) => {
  const path = `/with-${name.replaceAll(" ", "-")}`;
  answering(path, sent);
  if (asked.headers?.["sec-fetch-dest"] === "") delete asked.headers["sec-fetch-dest"];
  const given = await whole(path, asked);
  const text = given.body.toString("latin1");
  expect(given.status).toBe(sent.status ?? 200);
  expect(text).toMatch(SCRIPT);
  expect(text.indexOf("<script")).toBe(before.length);
  expect(text.replace(SCRIPT, "")).toBe(Buffer.from(sent.body ?? "").toString("latin1"));
  if (name === "with a nonce") expect(text).toContain('nonce="abc"');
});

const HTML = "<!doctype html><html><head><title>x</title></head>";

test.each<[name: string, sent: Sent, asked: Asked]>([
  [
    "XHTML",
    { headers: { "content-type": "application/xhtml+xml" }, body: "<?xml version='1.0'?><html/>" },
    {},
  ],
  ["a PDF", { headers: { "content-type": "application/pdf" }, body: "%PDF" }, {}],
  ["a download", { headers: { "content-disposition": "attachment; filename=a.html" }, body: HTML }, {}],
  ["HEAD", { headers: { "content-length": "50" } }, { method: "HEAD" }],
  ["204", { status: 204 }, {}],
  ["304", { status: 304 }, { headers: { "if-none-match": '"tag"' } }],
  [
    "a range",
    { status: 206, headers: { "content-range": "bytes 0-49/50" }, body: HTML },
    { headers: { range: "bytes=0-49" } },
  ],
  ["no-transform", { headers: { "cache-control": "max-age=5, no-transform" }, body: HTML }, {}],
  [
    "what a script fetches",
    { body: HTML },
    { headers: { "sec-fetch-dest": "empty", "sec-fetch-mode": "cors" } },
  ],
  ["a download by a link", { body: HTML }, { headers: { "sec-fetch-dest": "empty", accept: "*/*" } }],
  ["JSON", { headers: { "content-type": "application/json" }, body: "{}" }, {}],
  [
    "UTF-16",
    { headers: { "content-type": "text/html; charset=utf-16le" }, body: Buffer.from(HTML, "utf16le") },
    {},
  ],
  ["UTF-16 by its first bytes", { body: Buffer.from(`\ufeff${HTML}`, "utf16le") }, {}],
  ["deflate", { headers: { "content-encoding": "deflate" }, body: zlib.deflateSync(HTML) }, {}],
  ["a coding that nobody knows", { headers: { "content-encoding": "x-odd" }, body: "odd" }, {}],
  [
    "a policy that forbids it",
    { headers: { "content-security-policy": "script-src 'sha256-x'" }, body: HTML },
    {},
  ],
  ["a sandbox", { headers: { "content-security-policy": "sandbox allow-forms" }, body: HTML }, {}],
  ["a head that comes after 16 KiB", { body: `<!--${"x".repeat(17_000)}-->${HTML}` }, {}],
])("%s goes through to the byte", async (name, sent, asked) => {
  const path = `/exact-${name.replaceAll(" ", "-")}`;
  answering(path, sent);
  const [given, plain] = [await whole(path, asked), await whole(path, { ...asked, contract: "none" })];
  for (const { headers } of [given, plain]) delete headers["date"];
  expect(given.body.equals(plain.body)).toBe(true);
  expect(given.body.equals(Buffer.from(sent.body ?? ""))).toBe(true);
  expect(given.status).toBe(plain.status);
  // What a head that comes too late has lost is its length.
  if (!name.includes("16")) expect(given.headers["content-length"]).toBe(plain.headers["content-length"]);
});

test("the helper's script is served to anybody, to be kept for good", async () => {
  answering("/page", { body: HTML });
  const { body } = await whole("/page");
  const source = /src="([^"]+)"/.exec(body.toString())?.[1]?.replaceAll("&amp;", "&") ?? "";
  const script = await whole(source, { headers: { "sec-fetch-dest": "script" } });
  expect(script.status).toBe(200);
  expect(script.headers).toMatchObject({
    "content-type": "text/javascript; charset=utf-8",
    "cache-control": "public, max-age=31536000, immutable",
    "access-control-allow-origin": "*",
  });
  const again = await whole(source, { headers: { "if-none-match": script.headers.etag ?? "" } });
  expect([again.status, again.body.length]).toEqual([304, 0]);
  expect((await whole(source, { method: "POST" })).status).toBe(405);
});
