import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

/** Serves on PORT, on one port more that it writes into a file and keeps when it starts again, and takes WebSockets that it never says a word on. */
const SERVER = `import { createServer } from "node:http";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
const main = createServer((request, answer) => answer.end("main of " + process.env.npm_package_name));
main.on("upgrade", (request, socket) => {
  const key = createHash("sha1").update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nupgrade: websocket\\r\\nconnection: upgrade\\r\\nsec-websocket-accept: " + key.digest("base64") + "\\r\\n\\r\\n");
  socket.on("error", () => {});
});
const more = createServer((request, answer) => answer.end("further port"));
more.listen(existsSync("further.txt") ? Number(readFileSync("further.txt", "utf8")) : 0, "127.0.0.1", () => {
  writeFileSync("further.txt", String(more.address().port));
  main.listen(process.env.PORT, "127.0.0.1");
});
`;

let stack: TestStack;
let runner: RunnerProcess;
/** Ports of the two projects that aren't their dev servers' own. */
const further: Record<string, number> = {};

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "studio", env: { RUNNER_DEV_SERVER_IDLE: "4000" } });
  for (const slug of ["bakery", "library"]) {
    await stack.api("POST", "/projects", { slug });
    await file(slug, "write-file", {
      filePath: "package.json",
      content: JSON.stringify({ name: slug, scripts: { dev: "node server.mjs" } }),
    });
    await file(slug, "write-file", { filePath: "server.mjs", content: SERVER });
    await stack.api("POST", `/projects/${slug}/dev-server`);
    await state(slug, "running");
    further[slug] = Number((await file(slug, "read-file", { filePath: "further.txt" }))["content"]);
  }
});
afterAll(async () => {
  await runner?.remove();
  await stack?.stop();
});

async function file(slug: string, type: string, payload: object): Promise<Record<string, unknown>> {
  const { body } = await stack.api("POST", "/runners/studio/commands?wait=20", {
    type,
    payload: { slug, ...payload },
  });
  return body["event"] as Record<string, unknown>;
}

function state(slug: string, wanted: string): Promise<unknown> {
  return until(
    async () =>
      (await stack.api("GET", `/projects/${slug}`)).body["runner"] as { devServer: { state: string } },
    ({ devServer }) => devServer.state === wanted,
  );
}

async function link(
  slug: string,
  more: { seconds?: number; port?: number; once?: boolean } = {},
): Promise<URL> {
  const { body } = await stack.api("POST", `/projects/${slug}/preview`, { seconds: 600, ...more });
  return new URL(String(body["url"]));
}

const visit = (host: string, path: string, cookie = "") => stack.request(host, path, { headers: { cookie } });

/** The page, whose server may have stopped meanwhile. */
async function shown(host: string, cookie: string): Promise<string> {
  const { text } = await until(
    () => visit(host, "/", cookie),
    ({ status }) => status === 200,
  );
  return text;
}

/** The cookie that a link gives. */
async function enter({ hostname, pathname, search }: URL): Promise<string> {
  const entry = await visit(hostname, pathname + search);
  expect(entry.status).toBe(303);
  return String(entry.headers["set-cookie"]).split(";")[0] ?? "";
}

test("a link of one port opens it, and no other port and no other project", async () => {
  const mine = await link("bakery", { port: further["bakery"] ?? 0 });
  const host = `${further["bakery"]}--bakery.preview.localhost`;
  expect(mine.hostname).toBe(host);
  const cookie = await enter(mine);
  expect(await shown(host, cookie)).toBe("further port");
  const others = [
    "bakery.preview.localhost",
    "library.preview.localhost",
    `${further["library"]}--library.preview.localhost`,
    `${further["library"]}--bakery.preview.localhost`,
    `${(further["bakery"] ?? 0) + 1}--bakery.preview.localhost`,
  ];
  for (const other of others) {
    expect((await visit(other, "/", cookie)).status).toBe(401);
    expect((await visit(other, mine.pathname + mine.search)).status).toBe(401);
  }
  // Nor does the dev server's own link open another port.
  const main = await link("bakery");
  const mainCookie = await enter(main);
  expect(await shown("bakery.preview.localhost", mainCookie)).toBe("main of bakery");
  expect((await visit(host, "/", mainCookie)).status).toBe(401);
  expect((await visit(host, main.pathname + main.search)).status).toBe(401);
});

test("a port that isn't the project's own isn't reached, whoever may see the project", async () => {
  await stack.api("PATCH", "/projects/library", { public: true });
  await until(
    () => visit("library.preview.localhost", "/"),
    ({ status }) => status === 200,
  );
  // The edge's own, and another project's: both are on the runner's loopback.
  for (const port of [stack.port, further["bakery"]]) {
    const { status } = await until(
      () => stack.request(`${port}--library.preview.localhost`, "/", { headers: { accept: "text/html" } }),
      ({ text }) => text.includes(`Nothing of the project listens on port ${port}.`),
    );
    expect(status).toBe(503);
  }
  for (const label of ["0--library", "65536--library", "080--library", "80--"])
    expect((await visit(`${label}.preview.localhost`, "/")).status).toBe(404);
  expect((await stack.api("POST", "/projects", { slug: "80--shop" })).body).toMatchObject({
    code: "invalid_request",
  });
});

test("a link that opens once is refused when it is replayed, and lets the first visitor go on", async () => {
  const once = await link("bakery", { once: true });
  const tries = await Promise.all([1, 2, 3].map(() => visit(once.hostname, once.pathname + once.search)));
  expect(tries.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([303, 401, 401]);
  const cookie =
    String(tries.find(({ status }) => status === 303)?.headers["set-cookie"]).split(";")[0] ?? "";
  expect(await shown(once.hostname, cookie)).toBe("main of bakery");
  expect((await visit(once.hostname, once.pathname + once.search, cookie)).status).toBe(401);
});

test("an open socket and a page that tries its socket again aren't visits: the dev server stops", async () => {
  const cookie = await enter(await link("bakery"));
  await shown("bakery.preview.localhost", cookie);
  const open = () =>
    new WebSocket(`ws://127.0.0.1:${stack.port}/hot`, {
      headers: { host: `bakery.preview.localhost:${stack.port}`, cookie },
    });
  const socket = open();
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await state("bakery", "stopped");
  await closed;
  for (let tries = 0; tries < 3; tries++) {
    const again = open();
    expect(
      await new Promise((resolve) =>
        again
          .once("unexpected-response", (_request, { statusCode }) => resolve(statusCode))
          .on("error", () => 0),
      ),
    ).toBe(502);
  }
  expect((await stack.api("GET", "/projects/bakery")).body["runner"]).toMatchObject({
    devServer: { state: "stopped" },
  });
  // A person is one.
  expect((await visit("bakery.preview.localhost", "/", cookie)).status).toBeGreaterThanOrEqual(502);
  expect(await shown("bakery.preview.localhost", cookie)).toBe("main of bakery");
});
