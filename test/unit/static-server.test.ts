import { once } from "node:events";
import { mkdir, mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { request, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createStaticServer } from "../../runner/static/server.ts";
import { readStaticSettings } from "../../runner/static/settings.ts";

let root: string;
let directory: string;
const servers: Server[] = [];
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-static-"));
  directory = join(root, "site");
  await write("site", {
    "index.html": "home",
    "about.html": "about",
    "docs/index.html": "docs",
    "assets/app-Bx3k9.js": "0123456789",
    "a file.txt": "space",
    ".env": "secret",
    ".git/config": "secret",
    ".well-known/security.txt": "contact",
    "package.json": "{}",
    "node_modules/x/index.js": "x",
  });
  await writeFile(join(root, "secret.txt"), "secret");
});
afterAll(async () => {
  for (const server of servers) server.close();
  await rm(root, { recursive: true, force: true });
});

async function write(name: string, files: Record<string, string>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const file = join(root, name, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
    // As in a source: every file has the same time.
    await utimes(file, 1, 1);
  }
}

interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
}

async function serve(
  options: { directory?: string; spa?: boolean; immutable?: string[]; deployment?: string } = {},
) {
  const { deployment = "v1", ...rest } = options;
  const server = createStaticServer({ directory, spa: false, immutable: [], ...rest }, deployment);
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  // A path goes out as it is written.
  return async (path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> => {
    const asked = request({ host: "127.0.0.1", port, path, headers, method }).end();
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    return { status: answer.statusCode ?? 0, headers: answer.headers, body: await text(answer) };
  };
}

test.each([
  ["/", 200, "home"],
  ["/index.html?a=b", 200, "home"],
  ["/about", 200, "about"],
  ["/docs/", 200, "docs"],
  ["/a%20file.txt", 200, "space"],
  ["/.well-known/security.txt", 200, "contact"],
  ["/nowhere", 404, "Not found\n"],
])("%s is answered %i %j", async (path, status, body) => {
  expect(await (await serve())(path)).toMatchObject({ status, body });
});

test.each([
  "/../secret.txt",
  "/docs/../../secret.txt",
  "/%2e%2e/secret.txt",
  "/..%2fsecret.txt",
  "/..%5csecret.txt",
  "/docs/..\\..\\secret.txt",
  "/.env",
  "/%2eenv",
  "/.git/config",
  "//.git/config",
  "/docs/../.env",
  "/.well-known/../.env",
  "/.well-known/.env",
  "/node_modules/x/index.js",
  "//node_modules/x/index.js",
  "/package.json",
  "/%00",
  "/%ff",
])("%s shows nothing", async (path) => {
  const { status, body } = await (await serve())(path);
  expect(status).toBeGreaterThanOrEqual(400);
  expect(body).not.toMatch(/secret|x$/);
});

test("a directory's address gets its slash, and never another host", async () => {
  const get = await serve();
  expect(await get("/docs?a=b")).toMatchObject({ status: 301, headers: { location: "/docs/?a=b" } });
  expect((await get("//docs")).headers.location ?? "/").toMatch(/^\/(?!\/)/);
});

test.each([
  ["bytes=2-4", 206, "234", "bytes 2-4/10"],
  ["bytes=-3", 206, "789", "bytes 7-9/10"],
  ["bytes=7-", 206, "789", "bytes 7-9/10"],
  ["bytes=20-", 416, "416\n", "bytes */10"],
  ["bytes=0-1,4-5", 200, "0123456789", undefined],
])("the range %s is answered %i", async (range, status, body, contentRange) => {
  const answer = await (await serve())("/assets/app-Bx3k9.js", { range });
  expect(answer).toMatchObject({ status, body });
  expect(answer.headers["content-range"]).toBe(contentRange);
});

test("HEAD has the headers alone, and other methods are refused", async () => {
  const get = await serve();
  expect(await get("/", {}, "HEAD")).toMatchObject({
    status: 200,
    body: "",
    headers: { "content-length": "4" },
  });
  expect(await get("/", {}, "POST")).toMatchObject({ status: 405, headers: { allow: "GET, HEAD" } });
});

describe("caching", () => {
  test("documents are asked for again each time, files with a hash never", async () => {
    const get = await serve({ immutable: ["/assets/"] });
    expect((await get("/")).headers["cache-control"]).toBe("no-cache");
    expect((await get("/assets/app-Bx3k9.js")).headers["cache-control"]).toBe(
      "public, max-age=31536000, immutable",
    );
    expect((await get("/assets/gone.js")).headers["cache-control"]).toBe("no-cache");
  });

  test("an entity tag is of what the file holds: a version of the same size and time isn't taken for it", async () => {
    await write("next", { "index.html": "HOME" });
    const { headers } = await (await serve())("/");
    const again = { "if-none-match": headers.etag ?? "" };
    expect((await (await serve({ deployment: "v2" }))("/", again)).status).toBe(304);
    expect((await (await serve({ directory: join(root, "next") }))("/", again)).status).toBe(200);
  });

  test("a range of what has changed is answered with all of it", async () => {
    const get = await serve();
    const answer = await get("/assets/app-Bx3k9.js", { range: "bytes=0-1", "if-range": '"other"' });
    expect(answer).toMatchObject({ status: 200, body: "0123456789" });
  });
});

describe("what isn't there", () => {
  const html = { accept: "text/html,*/*" };

  test("is the page of a single-page application, for documents alone", async () => {
    const get = await serve({ spa: true });
    expect(await get("/some/route", html)).toMatchObject({ status: 200, body: "home" });
    expect((await get("/some/route.js", { accept: "*/*" })).status).toBe(404);
    expect((await get("/some/image", { accept: "image/*", "sec-fetch-dest": "image" })).status).toBe(404);
    expect((await get("/.env", html)).body).toBe("home");
  });

  test("is the site's own page, as missing, and in one piece", async () => {
    await write("own", { "index.html": "home", "404.html": "own page" });
    const get = await serve({ directory: join(root, "own") });
    const answer = await get("/nowhere", { ...html, range: "bytes=0-1" });
    expect(answer).toMatchObject({ status: 404, body: "own page" });
    expect(answer.headers["content-type"]).toContain("text/html");
  });
});

describe("what it is told", () => {
  const env = { PORT: "80" };

  test("the first directory with an index.html, and the rest of the flags", async () => {
    await mkdir(join(root, "empty"), { recursive: true });
    const args = ["gone", "empty", "site", "--spa", "--immutable", "assets", "--immutable", "/_app/x/"];
    expect(readStaticSettings(args, env, root)).toEqual({
      directory,
      spa: true,
      immutable: ["/assets/", "/_app/x/"],
      host: "127.0.0.1",
      port: 80,
    });
    expect(readStaticSettings(["gone", "empty"], env, root).directory).toBe(join(root, "empty"));
  });

  test.each([
    [[], env, "needs the directory"],
    [["gone"], env, "no directory gone"],
    [["gone", "lost"], env, "None of gone, lost"],
    [["site"], {}, "PORT"],
    [["site", "--other"], env, "--other"],
  ])("%j with %j is refused", (args, environment, says) => {
    expect(() => readStaticSettings(args, environment, root)).toThrow(says);
  });
});
