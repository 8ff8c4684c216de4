import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { networkVariables, pick } from "../../runner/processes/environment.ts";
import { jsonLines, Operator } from "../helpers/cli.ts";
import { newHome, removeHomes, start } from "../helpers/npm-start.ts";

/** `signalbox deploy` with nothing else, on the local stack with its own runner. */

const run = promisify(execFile);
let url: string;
let operator: Operator;
let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-have-"));
  const home = await newHome();
  const stack = start({ SIGNALBOX_HOME: home, ...(await registries()) });
  url = await stack.ready;
  const local = z.object({ url: z.string(), controlToken: z.string() });
  operator = await Operator.create(local.parse(JSON.parse(await readFile(join(home, "local.json"), "utf8"))));
});
afterAll(async () => {
  await removeHomes();
  await operator?.remove();
  await rm(root, { recursive: true, force: true });
});

/** This machine's way to the registries of npm and Python; one that can't be reached isn't tried six times. */
async function registries(): Promise<Record<string, string>> {
  const own = await readFile(join(homedir(), ".config/pip/pip.conf"), "utf8").catch(() => "[global]\n");
  const file = join(root, "pip.conf");
  await writeFile(file, own.replace("[global]", "[global]\nretries = 0"));
  return { ...pick(process.env, networkVariables), PIP_CONFIG_FILE: file };
}

async function write(name: string, files: Record<string, string>): Promise<string> {
  const directory = join(root, name);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
  return directory;
}

interface Deployed {
  decisions: Record<string, string>;
  get(path: string, headers?: Record<string, string>): Promise<Response>;
}

/** Deploys with no flags; answers what was decided, and how the app is asked. */
async function deploy(directory: string, ...flags: string[]): Promise<Deployed> {
  const { code, stdout, stderr } = await operator.run(["deploy", directory, "--json", ...flags]);
  const events = stdout.trim() === "" ? [] : jsonLines(stdout);
  const said = events.filter(({ type }) => type === "log").map(({ line }) => line);
  expect({ code, stderr, said: code === 0 ? [] : said }).toEqual({ code: 0, stderr: "", said: [] });
  const result = events.at(-1);
  expect(result).toMatchObject({ type: "result", state: "active" });
  const decisions = events.find(({ type }) => type === "decisions")?.["decisions"];
  const list = z.array(z.object({ what: z.string(), value: z.string() })).parse(decisions);
  return {
    decisions: Object.fromEntries(list.map(({ what, value }) => [what, value])),
    get: (path, headers = {}) => get(`${String(result?.["app"])}.localhost`, path, headers),
  };
}

async function get(host: string, path: string, headers: Record<string, string>): Promise<Response> {
  const { port } = new URL(url);
  // Undici sets no Host: curl does, and follows nothing.
  const { stdout } = await run("curl", [
    "-s",
    "-i",
    "--path-as-is",
    ...Object.entries({ host: `${host}:${port}`, ...headers }).flatMap(([name, value]) => [
      "-H",
      `${name}: ${value}`,
    ]),
    `http://127.0.0.1:${port}${path}`,
  ]);
  const end = stdout.indexOf("\r\n\r\n");
  const [status = "", ...lines] = stdout.slice(0, end).split("\r\n");
  const code = Number(status.split(" ")[1]);
  const fields = lines.map((line): [string, string] => [
    line.split(":")[0] ?? "",
    line.slice(line.indexOf(":") + 1).trim(),
  ]);
  return new Response([204, 304].includes(code) ? null : stdout.slice(end + 4), {
    status: code,
    headers: fields,
  });
}

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
    expect([missing.status, await missing.text()]).toEqual([404, "nothing here"]);
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

test("what nothing starts is an error that names the flags", async () => {
  const directory = await write("nothing", { "package.json": '{"name":"nothing"}' });
  const { code, stderr } = await operator.run(["deploy", directory]);
  expect(code).toBe(3);
  for (const flag of ["--start", "--static", "--build"]) expect(stderr).toContain(flag);
});

test("what nothing starts is asked in a terminal", async () => {
  const directory = await write("asked", { "pages/hello.txt": "hello" });
  const asked = operator.inTerminal(["deploy", directory]);
  await expect.poll(() => asked.output()).toContain("What is it?");
  asked.child.stdin?.write("\u001b[B\r");
  await expect.poll(() => asked.output()).toContain("The directory of the files");
  asked.child.stdin?.write("pages\r");
  expect((await asked.ended).code).toBe(0);
  expect(await (await get("asked.localhost", "/hello.txt", {})).text()).toBe("hello");
});

test("init writes what deploy would do, and deploy goes by it", async () => {
  const directory = await write("written", {
    "package.json": JSON.stringify({
      name: "written",
      scripts: { build: "echo ok > made.txt", start: "node server.js" },
    }),
    "server.js": plain('require("node:fs").readFileSync("made.txt")'),
  });
  expect((await operator.run(["init", directory])).code).toBe(0);
  expect(JSON.parse(await readFile(join(directory, "signalbox.json"), "utf8"))).toEqual({
    app: "written",
    contract: "none",
    build: "npm run build",
    start: "npm start",
    env: { NODE_ENV: "production" },
  });
  expect((await operator.run(["init", directory])).stderr).toContain("is there already");
  const { code } = await operator.run(["deploy", directory]);
  expect(code).toBe(0);
  expect(await (await get("written.localhost", "/", {})).text()).toBe("ok\n");
});

test("a server that takes connections before it finds that it can't start fails with its last lines", async () => {
  const directory = await write("doomed", {
    "server.js": `require("node:http").createServer(() => {}).listen(process.env.PORT, process.env.HOST, () =>
  setTimeout(() => { console.error("Could not find a production build"); process.exit(1); }, 500));`,
  });
  const began = Date.now();
  const { code, stdout, stderr } = await operator.run(["deploy", directory]);
  expect(code).toBe(1);
  expect(stdout + stderr).toContain("Could not find a production build");
  expect(Date.now() - began).toBeLessThan(60_000);
});
