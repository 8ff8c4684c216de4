import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Newcomer } from "../helpers/newcomer.ts";

/** `signalbox deploy` with nothing else, on the local stack with its own runner. */

const run = promisify(execFile);
let newcomer: Newcomer;
beforeAll(async () => {
  newcomer = await Newcomer.arrive();
});
afterAll(() => newcomer?.leave());

const write: Newcomer["write"] = (name, files) => newcomer.write(name, files);
const deploy: Newcomer["deploy"] = (directory, ...flags) => newcomer.deploy(directory, ...flags);

const LISTEN = '.listen(process.env.PORT, process.env.HOST, () => console.log("up"))';
const plain = (text: string): string =>
  `require("node:http").createServer((_, response) => response.end(${text}))${LISTEN};\n`;

describe.concurrent("deploy without a flag or a file", () => {
  test("a directory of files is served, with its own 404 page and nothing hidden", async () => {
    const directory = await write("files", {
      "index.html": "<h1>files</h1>",
      "about.html": "about",
      "docs/index.html": "docs",
      "404.html": "nothing here",
      ".env.txt": "secret",
      "movie.txt": "0123456789",
    });
    const { decisions, get } = await deploy(directory);
    expect(decisions).toEqual({ start: "signalbox-runner static ." });
    expect(await (await get("/")).text()).toBe("<h1>files</h1>");
    expect(await (await get("/about")).text()).toBe("about");
    expect((await get("/docs")).headers.get("location")).toMatch(/\/docs\/$/);
    const missing = await get("/nowhere", { accept: "text/html" });
    // The edge has put its helper before it.
    expect([missing.status, await missing.text()]).toEqual([404, expect.stringMatching(/nothing here$/)]);
    expect((await get("/.env.txt")).status).toBe(404);
    const part = await get("/movie.txt", { range: "bytes=-3" });
    expect([part.status, await part.text()]).toEqual([206, "789"]);
  });

  test("a server in one file without a package.json", async () => {
    const directory = await write("one-file", { "server.js": plain('"one file"') });
    const { decisions, get } = await deploy(directory);
    expect(decisions["start"]).toBe("node server.js");
    expect(await (await get("/")).text()).toBe("one file");
  });

  test("Express, with its dependency installed from the registry", async () => {
    const directory = await write("express", {
      "package.json": JSON.stringify({
        name: "express-app",
        scripts: { start: "node index.js" },
        dependencies: { express: "5.1.0" },
      }),
      "index.js": `const app = require("express")();
app.get("/", (request, response) => response.send("express in " + process.env.NODE_ENV));
app${LISTEN};`,
    });
    const { decisions, get } = await deploy(directory);
    expect(decisions).toMatchObject({ start: "npm start", env: "NODE_ENV=production" });
    expect(await (await get("/")).text()).toBe("express in production");
  });

  test("a member of an npm workspace, built with what it needs of it", async () => {
    const directory = await write("npm-workspace", {
      ".git/HEAD": "",
      "package.json": JSON.stringify({ private: true, workspaces: ["packages/*", "apps/*"] }),
      "packages/greeting/package.json": JSON.stringify({
        name: "greeting",
        version: "1.0.0",
        main: "dist/index.js",
        scripts: { build: "mkdir -p dist && cp index.js dist" },
      }),
      "packages/greeting/index.js": 'module.exports = "built in a workspace"',
      "apps/web/package.json": JSON.stringify({
        name: "npm-web",
        scripts: { build: "echo ok > built.txt", start: "node server.js" },
        dependencies: { greeting: "1.0.0" },
      }),
      "apps/web/server.js": plain('require("greeting") + require("node:fs").readFileSync("built.txt")'),
    });
    const { decisions, get } = await deploy(join(directory, "apps/web"));
    expect(decisions).toMatchObject({
      root: directory,
      build: "(cd ../../packages/greeting && npm run build) && npm run build",
    });
    expect(await (await get("/")).text()).toBe("built in a workspaceok\n");
  });

  test("a member of a pnpm workspace", async () => {
    const directory = await write("pnpm-workspace", {
      ".git/HEAD": "",
      "package.json": JSON.stringify({ private: true }),
      "pnpm-workspace.yaml": "packages:\n  - 'packages/*'\n",
      "packages/greeting/package.json": JSON.stringify({ name: "greeting", version: "1.0.0" }),
      "packages/greeting/index.js": 'module.exports = "by pnpm"',
      "packages/web/package.json": JSON.stringify({
        name: "pnpm-web",
        scripts: { start: "node server.js" },
        dependencies: { greeting: "workspace:*" },
      }),
      "packages/web/server.js": plain('require("greeting")'),
    });
    const { decisions, get } = await deploy(join(directory, "packages/web"));
    expect(decisions).toMatchObject({ root: directory, start: "pnpm start" });
    expect(await (await get("/")).text()).toBe("by pnpm");
  });

  test("a member of a yarn workspace", async () => {
    const directory = await write("yarn-workspace", {
      ".git/HEAD": "",
      "package.json": JSON.stringify({ private: true, workspaces: { packages: ["packages/*"] } }),
      "yarn.lock": "# yarn lockfile v1\n",
      "packages/greeting/package.json": JSON.stringify({ name: "greeting", version: "1.0.0" }),
      "packages/greeting/index.js": 'module.exports = "by yarn"',
      "packages/web/package.json": JSON.stringify({
        name: "yarn-web",
        version: "1.0.0",
        scripts: { start: "node server.js" },
        dependencies: { greeting: "1.0.0" },
      }),
      "packages/web/server.js": plain('require("greeting")'),
    });
    const { get } = await deploy(join(directory, "packages/web"));
    expect(await (await get("/")).text()).toBe("by yarn");
  });

  test("a Procfile", async () => {
    const directory = await write("procfile", {
      Procfile: "worker: exit 1\nweb: node app.cjs --greeting=procfile\n",
      "app.cjs": plain("process.argv[2]"),
    });
    const { decisions, get } = await deploy(directory);
    expect(decisions).toMatchObject({ start: "node app.cjs --greeting=procfile" });
    expect(await (await get("/")).text()).toBe("--greeting=procfile");
  });

  test("FastAPI with requirements.txt", async ({ skip }) => {
    const hasVenv = await run("python3", ["-c", "import venv, ensurepip"]).then(
      () => true,
      () => false,
    );
    if (!hasVenv) skip("python3 with venv isn't on this machine");
    const directory = await write("fastapi", {
      "requirements.txt": "fastapi\n",
      "main.py": `from fastapi import FastAPI
app = FastAPI()

@app.get("/")
def root():
    return {"from": "fastapi"}
`,
    });
    const { decisions, get } = await deploy(directory);
    expect(decisions["install"]).toContain("-r requirements.txt uvicorn");
    expect(await (await get("/")).json()).toEqual({ from: "fastapi" });
  });

  test("a Bun server", async () => {
    const directory = await write("bun-app", {
      "package.json": JSON.stringify({ name: "bun-app" }),
      "index.ts": "Bun.serve({ fetch: (): Response => new Response(`bun ${typeof Bun.version}`) });",
    });
    const { decisions, get } = await deploy(directory);
    expect(decisions["start"]).toBe("bun index.ts");
    expect(await (await get("/")).text()).toBe("bun string");
  });

  test("a Deno server", async () => {
    const directory = await write("deno-app", {
      "deno.json": "{}",
      "main.ts": "Deno.serve((): Response => new Response(`deno ${typeof Deno.version.deno}`));",
    });
    const { decisions, get } = await deploy(directory);
    expect(decisions["start"]).toContain("deno run --allow-all main.ts");
    expect(await (await get("/")).text()).toBe("deno string");
  });
});

describe.concurrent("the flags of docs/deploying.md", () => {
  test("--env reaches the build", async () => {
    const directory = await write("env", {
      "package.json": JSON.stringify({
        name: "env",
        scripts: { build: 'mkdir -p dist && echo "api at $VITE_API" > dist/index.html' },
      }),
    });
    const { get } = await deploy(directory, "--env", "VITE_API=/api");
    expect(await (await get("/")).text()).toBe("api at /api\n");
  });

  test("--start of files whose names hold their hash", async () => {
    const directory = await write("hashed", { "index.html": "page", "assets/a1b2c3.js": "1" });
    const { get } = await deploy(directory, "--start", "signalbox-runner static . --immutable assets");
    expect((await get("/assets/a1b2c3.js")).headers.get("cache-control")).toContain("immutable");
    expect((await get("/")).headers.get("cache-control")).toBe("no-cache");
  });
});

test("what nothing starts is an error that names the flags", async () => {
  const directory = await write("nothing", { "package.json": '{"name":"nothing"}' });
  const { code, stderr } = await newcomer.operator.run(["deploy", directory]);
  expect(code).toBe(3);
  for (const flag of ["--start", "--static", "--build"]) expect(stderr).toContain(flag);
});

test("what nothing starts is asked in a terminal", async () => {
  const directory = await write("asked", { "pages/index.html": "start", "pages/hello.txt": "hello" });
  const asked = newcomer.operator.inTerminal(["deploy", directory]);
  await expect.poll(() => asked.output()).toContain("What is it?");
  asked.child.stdin?.write("\u001b[B\r");
  await expect.poll(() => asked.output()).toContain("The directory of the files");
  asked.child.stdin?.write("pages\r");
  expect((await asked.ended).code).toBe(0);
  expect(await (await newcomer.get("asked", "/hello.txt")).text()).toBe("hello");
});

test("init writes what deploy would do, and deploy goes by it", async () => {
  const directory = await write("written", {
    "package.json": JSON.stringify({
      name: "written",
      scripts: { build: "echo ok > made.txt", start: "node server.js" },
    }),
    "server.js": plain('require("node:fs").readFileSync("made.txt")'),
  });
  expect((await newcomer.operator.run(["init", directory])).code).toBe(0);
  expect(JSON.parse(await readFile(join(directory, "signalbox.json"), "utf8"))).toEqual({
    app: "written",
    build: "npm run build",
    start: "npm start",
    env: { NODE_ENV: "production" },
  });
  expect((await newcomer.operator.run(["init", directory])).stderr).toContain("is there already");
  const { code } = await newcomer.operator.run(["deploy", directory]);
  expect(code).toBe(0);
  expect(await (await newcomer.get("written", "/")).text()).toBe("ok\n");
});

test("a server that takes connections before it finds that it can't start fails with its last lines", async () => {
  const directory = await write("doomed", {
    "server.js": `require("node:http").createServer(() => {}).listen(process.env.PORT, process.env.HOST, () =>
  setTimeout(() => { console.error("Could not find a production build"); process.exit(1); }, 500));`,
  });
  const began = Date.now();
  const { code, stdout, stderr } = await newcomer.operator.run(["deploy", directory]);
  expect(code).toBe(1);
  expect(stdout + stderr).toContain("Could not find a production build");
  expect(Date.now() - began).toBeLessThan(60_000);
});
