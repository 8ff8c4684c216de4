import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { freePort } from "../../scripts/local/free-port.ts";
import { type InstalledPackages, installPackages } from "../helpers/installed-packages.ts";
import { startRedis } from "../helpers/redis.ts";
import { until } from "../helpers/stack.ts";
import { startUpstashFront } from "../helpers/upstash-front.ts";

let installed: InstalledPackages;
let examples: Map<string, string>;

beforeAll(async () => {
  installed = await installPackages();
  await installed.add("hono", "@hono/node-server", "@upstash/redis", "ws");
  const readme = await readFile(join(projectRoot, "sdk/README.md"), "utf8");
  const blocks = [...readme.matchAll(/^```js\n\/\/ (\S+)\n([\s\S]*?)^```/gm)];
  examples = new Map(blocks.map(([, name = "", code = ""]) => [name, code]));
  for (const [name, code] of examples) await writeFile(join(installed.directory, name), code);
}, 300_000);
afterAll(() => installed?.remove());

function start(file: string, env: Record<string, string>): ChildProcess {
  const child = spawn(process.execPath, [file], {
    cwd: installed.directory,
    stdio: ["ignore", "pipe", "inherit"],
    env: { PATH: process.env["PATH"], ...env },
  });
  const exited = once(child, "exit");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  return child;
}

test("every example of the sdk's README is one of these", () => {
  expect([...examples.keys()]).toEqual(["server.mjs", "hono.mjs", "web.mjs", "session.mjs", "page.mjs"]);
});

test.each(["server.mjs", "hono.mjs"])("%s serves its page and the contract", async (file) => {
  const port = await freePort();
  start(file, { PORT: String(port), PULSE_DEPLOYMENT_ID: "v1" });
  const origin = `http://127.0.0.1:${port}`;
  const page = await until(
    () =>
      fetch(origin).then(
        (response) => response.text(),
        () => null,
      ),
    (html) => html !== null,
  );
  expect(page).toContain('<script src="/_pulse/client.js?pulse_deployment=v1"></script><h1>Hello</h1>');
  expect(await (await fetch(`${origin}/_pulse/meta`)).json()).toMatchObject({ deployment_id: "v1" });
  const socket = new WebSocket(`${origin.replace("http", "ws")}/_pulse/session?pulse_deployment=v1`);
  const [event]: MessageEvent[] = await once(socket, "message");
  expect(JSON.parse(String(event?.data))).toMatchObject({ type: "welcome", deployment_id: "v1" });
  socket.close();
});

test("web.mjs answers the contract and leaves the rest to the app", async () => {
  const { default: app } = (await import(join(installed.directory, "web.mjs"))) as {
    default: { fetch(request: Request): Promise<Response> };
  };
  const ask = async (path: string): Promise<string> =>
    (await app.fetch(new Request(`http://localhost${path}`))).text();
  expect(await ask("/_pulse/health")).toBe('{"status":"ok"}');
  expect(await ask("/")).toContain("<h1>Hello</h1>");
});

test("session.mjs keeps a session in Redis", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const front = await startUpstashFront({ redisPort: redis.port, token: "token-of-the-store" });
  onTestFinished(() => front.close());
  const url = new URL(front.url);
  url.username = "default";
  url.password = front.token;
  const child = start("session.mjs", { PULSE_RAILWAY_REDIS_URL: url.href });
  if (child.stdout === null) throw new Error("Its output isn't piped.");
  expect(await text(child.stdout)).toBe("{ user: 7 }\n");
});

test("page.mjs is bundled for a browser", async () => {
  const { outputFiles } = await build({
    entryPoints: [join(installed.directory, "page.mjs")],
    bundle: true,
    format: "esm",
    platform: "browser",
    minify: true,
    write: false,
  });
  // A page that imports the door pays for a property's name, not for the helper.
  expect(outputFiles[0]?.contents.length).toBeLessThan(400);
});
