import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { Gateway } from "../../runner/builds/gateway.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

async function vendorAt(serve: Serve): Promise<string> {
  const server = createServer(serve);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function openGateway(): Promise<Gateway> {
  const gateway = await Gateway.listen();
  closing.push(() => gateway.close());
  return gateway;
}

test.each([
  ["x-api-key", "x-api-key", (token: string) => token, "real"],
  ["authorization", "authorization", (token: string) => `Bearer ${token}`, "Bearer real"],
  ["x-goog-api-key", "authorization", (token: string) => `Bearer ${token}`, "real"],
])("the vendor gets its key as %s, and no token of ours", async (header, given, as, expected) => {
  const seen: IncomingMessage["headers"][] = [];
  const url = await vendorAt((request, response) => {
    seen.push(request.headers);
    response.end(request.url);
  });
  const gateway = await openGateway();
  const { url: base, token } = gateway.open({ url: `${url}/base`, header, key: "real" });
  const answer = await fetch(`${base}/v1/messages?beta=true`, { headers: { [given]: as(token) } });
  expect(await answer.text()).toBe("/base/v1/messages?beta=true");
  expect(seen[0]?.[header]).toBe(expected);
  expect(JSON.stringify(seen)).not.toContain(token);
});

test("an answer is passed on as it comes", async () => {
  let more: (() => void) | undefined;
  const url = await vendorAt((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: one\n\n");
    more = () => response.end("data: two\n\n");
  });
  const { url: base, token } = (await openGateway()).open({ url, header: "x-api-key", key: "real" });
  const answer = await fetch(`${base}/`, { headers: { "x-api-key": token } });
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  // The second part is written only once the first was read.
  expect((await reader?.read())?.value).toBe("data: one\n\n");
  more?.();
  expect((await reader?.read())?.value).toBe("data: two\n\n");
});

test("a token is good for its build alone: afterwards, and with another one, nothing passes", async () => {
  let requests = 0;
  const url = await vendorAt((_request, response) => {
    requests++;
    response.writeHead(200).write("begun");
  });
  const gateway = await openGateway();
  const passage = gateway.open({ url, header: "x-api-key", key: "real" });
  const headers = { "x-api-key": passage.token };
  const open = await fetch(passage.url, { headers });
  passage.revoke();
  await expect(open.text()).rejects.toThrow();
  expect((await fetch(passage.url, { headers })).status).toBe(401);
  expect((await fetch(passage.url, { headers: { "x-api-key": "signalbox-guess" } })).status).toBe(401);
  expect((await fetch(passage.url)).status).toBe(401);
  expect(requests).toBe(1);
});

test("a vendor that can't be reached is a 502 that doesn't say the key", async () => {
  const { url, token } = (await openGateway()).open({
    url: "http://127.0.0.1:9",
    header: "x-api-key",
    key: "real",
  });
  const answer = await fetch(`${url}/v1`, { headers: { "x-api-key": token } });
  expect([answer.status, await answer.text()]).toEqual([502, expect.not.stringContaining("real")]);
});
