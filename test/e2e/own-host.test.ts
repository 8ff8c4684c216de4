import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { HANDSHAKE, header, headers, rawGet, rawRequest, type RawAnswer } from "../helpers/raw-http.ts";
import { putApp } from "../helpers/deploy.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";

/** A backend as frameworks make them: it refuses forms and WebSockets whose Origin isn't its Host. */
interface StrictBackend {
  server: Server;
  host: string;
  seen: IncomingMessage[];
  /** Extra headers of the next answers, as they go over the wire. */
  answer: { status: number; headers: string[] };
}

let stack: TestStack;
let backend: StrictBackend;

beforeAll(async () => {
  stack = await startTestStack();
  backend = await startStrict();
  for (const [name, host] of [
    ["own", "own"],
    ["public", "public"],
    ["unsaid", undefined],
  ] as const) {
    await putApp(stack, name, { hosts: [`${name}.test`], contract: "none" });
    const target = { kind: "url", url: `http://${backend.host}`, ...(host !== undefined && { host }) };
    const { status, body } = await stack.api("POST", `/apps/${name}/deployments`, { id: "v1", target });
    expect(status, JSON.stringify(body)).toBe(202);
    await stack.control.until(name, "v1", ["active"], 60_000);
  }
});

afterAll(async () => {
  backend.server.closeAllConnections();
  await Promise.all([stack.stop(), new Promise((resolve) => backend.server.close(resolve))]);
});

async function startStrict(): Promise<StrictBackend> {
  const server = createServer();
  server.keepAliveTimeout = 120_000;
  const started: StrictBackend = { server, host: "", seen: [], answer: { status: 200, headers: [] } };
  const isForeign = ({ headers }: IncomingMessage): boolean =>
    headers.origin !== undefined && URL.parse(headers.origin)?.host !== headers.host;
  server.on("request", (request, response) => {
    started.seen.push(request);
    request.resume();
    if (request.method === "POST" && isForeign(request)) response.writeHead(403).end("cross-site form");
    else response.writeHead(started.answer.status, started.answer.headers).end("ok");
  });
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    started.seen.push(request);
    if (isForeign(request)) socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    else sockets.handleUpgrade(request, socket, head, (client) => client.on("error", () => undefined));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  started.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return started;
}

function post(name: string, extra: Record<string, string>, host = `${name}.test`): Promise<RawAnswer> {
  const request = rawGet(host, "/form", { "content-length": "0", ...extra }).replace("GET", "POST");
  return rawRequest(stack.port, request);
}

const lastSeen = (): IncomingMessage["headers"] => backend.seen.at(-1)?.headers ?? {};

describe("a target with its own host", () => {
  test("takes a form and a WebSocket of a page at the public host", async () => {
    const origin = { origin: "http://own.test" };
    expect((await post("own", origin)).status).toBe(200);
    expect((await rawRequest(stack.port, rawGet("own.test", "/", { ...HANDSHAKE, ...origin }))).status).toBe(
      101,
    );
    expect((await post("own", { origin: "https://OWN.test" })).status).toBe(200);
    const atPort = `own.test:${stack.port}`;
    expect((await post("own", { origin: `http://${atPort}` }, atPort)).status).toBe(200);
  });

  test("sees Origin and Referer as its own, and nothing of the public place", async () => {
    await post("own", { origin: "http://own.test", referer: "http://own.test/a%20b?c=//own.test#d" });
    const { origin, referer, host, ...others } = lastSeen();
    expect({ origin, referer, host }).toEqual({
      origin: `http://${backend.host}`,
      referer: `http://${backend.host}/a%20b?c=//own.test#d`,
      host: backend.host,
    });
    expect(Object.keys(others).filter((name) => name.startsWith("x-forwarded"))).toEqual(["x-forwarded-for"]);
  });

  test.each(["http://evil.test", "null", "http://own.test.evil.test", "http://sub.own.test", "own.test"])(
    "refuses a form and a WebSocket of another origin: %s",
    async (origin) => {
      expect((await post("own", { origin, referer: `${origin}/x` })).status).toBe(403);
      expect(lastSeen()).toMatchObject({ origin, referer: `${origin}/x` });
      const socket = await rawRequest(stack.port, rawGet("own.test", "/", { ...HANDSHAKE, origin }));
      expect(socket.status).toBe(403);
    },
  );
});

test.each(["public", "unsaid"])(
  "a target whose host is %s sees Origin as the browser sent it",
  async (name) => {
    const origin = `http://${name}.test`;
    expect((await post(name, { origin, referer: `${origin}/x` })).status).toBe(403);
    expect(lastSeen()).toMatchObject({
      origin,
      referer: `${origin}/x`,
      "x-forwarded-host": `${name}.test`,
      "x-forwarded-proto": "http",
    });
  },
);

describe.each(["own", "unsaid"])("a redirect by a backend whose target's host is %s", (name) => {
  async function answers(status: number, ...lines: [string, string][]): Promise<RawAnswer> {
    backend.answer = { status, headers: lines.flat() };
    try {
      return await rawRequest(stack.port, rawGet(`${name}.test:8080`, "/"));
    } finally {
      backend.answer = { status: 200, headers: [] };
    }
  }
  const spelled = (text: string): string => text.replaceAll("BACKEND", backend.host);

  test.each([
    ["http://BACKEND/a?b#c", `http://${name}.test:8080/a?b#c`],
    ["http://BACKEND", `http://${name}.test:8080`],
    ["//BACKEND/a", `http://${name}.test:8080/a`],
    ["HTTP://BACKEND/%2e%2E/?x=http://BACKEND/", `http://${name}.test:8080/%2e%2E/?x=http://BACKEND/`],
    // Behind a TLS proxy it takes its scheme for another one.
    ["https://BACKEND/a", `http://${name}.test:8080/a`],
    ["http://BACKEND//evil.test/a", `http://${name}.test:8080//evil.test/a`],
    ["/a?b", "/a?b"],
    ["a/../b", "a/../b"],
    ["http://elsewhere.test/a", "http://elsewhere.test/a"],
    ["//elsewhere.test/?http://BACKEND/", "//elsewhere.test/?http://BACKEND/"],
    ["http://BACKEND.evil.test/", "http://BACKEND.evil.test/"],
    ["http://BACKEND@evil.test/", "http://BACKEND@evil.test/"],
    ["myapp://BACKEND/a", "myapp://BACKEND/a"],
  ])("to %s leads to %s", async (location, expected) => {
    for (const status of [201, 301, 302, 303, 307, 308]) {
      const answer = await answers(status, ["location", spelled(location)]);
      expect(answer.status).toBe(status);
      expect(headers(answer, "location")).toEqual([spelled(expected)]);
    }
  });

  test("keeps its bytes, and stays where it leads if they aren't UTF-8", async () => {
    const utf8 = Buffer.from("Łódź").toString("latin1");
    const answer = await answers(302, ["location", spelled(`http://BACKEND/${utf8}`)]);
    expect(header(answer, "location")).toBe(`http://${name}.test:8080/${utf8}`);
    const latin1 = spelled("http://BACKEND/\xe9");
    expect(header(await answers(302, ["location", latin1]), "location")).toBe(latin1);
  });

  test.each([
    ["0; url=http://BACKEND/a", `0; url=http://${name}.test:8080/a`],
    ["5;URL='http://BACKEND/a'", `5;URL='http://${name}.test:8080/a'`],
    ["0, http://BACKEND/a", `0, http://${name}.test:8080/a`],
    ["0; url=/a", "0; url=/a"],
    ["0; url=http://elsewhere.test/?http://BACKEND/", "0; url=http://elsewhere.test/?http://BACKEND/"],
    ["5", "5"],
  ])("by Refresh to %s leads to %s", async (refresh, expected) => {
    const answer = await answers(200, ["refresh", spelled(refresh)]);
    expect(headers(answer, "refresh")).toEqual([spelled(expected)]);
  });

  test("isn't what Content-Location is: it stays", async () => {
    const value = spelled("http://BACKEND/a");
    expect(headers(await answers(200, ["content-location", value]), "content-location")).toEqual([value]);
  });
});

test("a target's host is one of those that there are", async () => {
  const target = { kind: "url", url: `http://${backend.host}`, host: "local" };
  const { status, body } = await stack.api("POST", "/apps/own/deployments", { id: "bad", target });
  expect(status).toBe(400);
  expect(JSON.stringify(body)).toContain("target.host");
});
