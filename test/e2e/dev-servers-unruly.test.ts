import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isObject } from "../../functions/protocol/control.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

interface DevServer {
  state: string;
  port: number | null;
  reason: string | null;
  lastLines: string[];
}

let stack: TestStack;
let runner: RunnerProcess;

beforeAll(async () => {
  stack = await startTestStack();
  runner = await startRunner(stack, { id: "unruly" });
});
afterAll(async () => {
  await runner?.remove();
  await stack?.stop();
});

async function command(type: string, payload: object): Promise<Record<string, unknown>> {
  const { body } = await stack.api("POST", "/runners/unruly/commands?wait=40", { type, payload });
  return isObject(body["event"]) ? body["event"] : body;
}

/** A public project whose dev server is this program. */
async function project(slug: string, program: string, dev = "node server.cjs"): Promise<void> {
  await stack.api("POST", "/projects", { slug });
  await stack.api("PATCH", `/projects/${slug}`, { public: true });
  const manifest = JSON.stringify({ name: slug, scripts: { dev } });
  await command("write-file", { slug, filePath: "package.json", content: manifest });
  await command("write-file", { slug, filePath: "server.cjs", content: program });
}

async function view(slug: string): Promise<DevServer> {
  const { body } = await stack.api("GET", `/projects/${slug}`);
  return (body["runner"] as { devServer: DevServer }).devServer;
}

async function start(slug: string, wanted: string): Promise<DevServer> {
  await stack.api("POST", `/projects/${slug}/dev-server`);
  return until(
    () => view(slug),
    ({ state }) => state === wanted,
  );
}

async function page(slug: string): Promise<string> {
  const { text } = await until(
    () => stack.request(`${slug}.preview.localhost`, "/"),
    ({ status }) => status === 200,
  );
  return text;
}

async function remove(slug: string): Promise<void> {
  expect((await stack.api("DELETE", `/projects/${slug}`)).status).toBe(200);
}

/** What the runner told of a project, newest first. */
async function told(slug: string, type: string): Promise<Record<string, unknown>[]> {
  const { body } = await stack.api("GET", "/runners/unruly");
  const events = body["recentEvents"] as Record<string, unknown>[];
  return events.filter((event) => event["type"] === type && event["projectId"] === slug);
}

const serve = (text: string, port = "process.env.PORT"): string =>
  `require("node:http").createServer((q, a) => a.end(${JSON.stringify(text)})).listen(${port}, "127.0.0.1");`;

test("one that ignores SIGTERM is killed, with what it started", async () => {
  await project(
    "deaf",
    `process.on("SIGTERM", () => {});
require("node:child_process").spawn("sh", ["-c", "trap '' TERM; while :; do sleep 1; done"], { stdio: "ignore" });
${serve("deaf")}`,
  );
  await start("deaf", "running");
  expect(await page("deaf")).toBe("deaf");
  expect((await stack.api("DELETE", "/projects/deaf/dev-server")).status).toBe(200);
  expect(runner.hosted()).toEqual([]);
  await remove("deaf");
});

test("one that forks away is ended, and the reason says that it left", async () => {
  const program = `const { spawn } = require("node:child_process");
const daemon = "setsid sh -c 'node -e \\"require(\\\\\\"node:http\\\\\\").createServer().listen(0); setInterval(() => 0, 1000)\\" &' &";
spawn("setsid", ["sh", "-c", daemon], { detached: true, stdio: "ignore" }).unref();
console.log("gone to the background");`;
  await project("daemon", program);
  const { reason, lastLines } = await start("daemon", "crashed");
  expect(reason).toBe("The start command exited with code 0: a dev server must stay in the foreground");
  expect(lastLines).toContain("gone to the background");
  expect(runner.hosted()).toEqual([]);
  await remove("daemon");
});

test("one that takes another port than it was told is found there, and that is reported", async () => {
  const free = createServer();
  await new Promise<void>((resolve) => free.listen(0, "127.0.0.1", resolve));
  const address = free.address();
  const own = isObject(address) ? Number(address["port"]) : 0;
  await new Promise((resolve) => free.close(resolve));
  await project("stubborn", serve("stubborn", String(own)));
  const { port } = await start("stubborn", "running");
  expect(port).toBe(own);
  expect(await page("stubborn")).toBe("stubborn");
  await remove("stubborn");
});

test("one whose port a stranger has gets another one, and the stranger isn't shown", async () => {
  await stack.api("POST", "/projects", { slug: "crowded" });
  let stranger: Server | null = null;
  const port = 6_091;
  stranger = createServer((_, answer) => answer.end("stranger"));
  await new Promise<void>((resolve) => stranger.listen(port, "127.0.0.1", resolve));
  try {
    const server = serve("mine").replaceAll('"', "'");
    const started = await command("start-dev-server", {
      slug: "crowded",
      runCommand: `node -e "${server}"`,
      preferredPort: port,
    });
    expect(started).toMatchObject({ type: "port-detected" });
    expect(started["port"]).not.toBe(port);
    expect(await told("crowded", "port-conflict")).toMatchObject([{ port }]);
    expect(await told("crowded", "port-reallocated")).toMatchObject([
      { originalPort: port, newPort: started["port"] },
    ]);
  } finally {
    stranger.close();
  }
  await remove("crowded");
});

test("one that finds its port taken as it starts is started on another one", async () => {
  // It lets a stranger in front before it listens itself, the first time.
  const program = `const { existsSync, writeFileSync } = require("node:fs");
const { createServer } = require("node:http");
const mine = () => createServer((q, a) => a.end("mine on " + process.env.PORT)).listen(process.env.PORT, "127.0.0.1");
if (existsSync("stranger-was-here")) mine();
else {
  writeFileSync("stranger-was-here", process.env.PORT);
  process.on("uncaughtException", (error) => { console.error(error.code); setTimeout(() => process.exit(1), 200); });
  fetch(process.env.STRANGER + process.env.PORT).then(mine);
}`;
  const strangers: Server[] = [];
  const opener = createServer((request, answer) => {
    const stranger = createServer((_, reply) => reply.end("stranger"));
    strangers.push(stranger);
    // Another test's server may have taken the port since: that serves as well.
    stranger.once("error", () => answer.end());
    stranger.listen(Number(request.url?.slice(1)), "127.0.0.1", () => answer.end());
  });
  await new Promise<void>((resolve) => opener.listen(0, "127.0.0.1", resolve));
  const address = opener.address();
  const origin = `http://127.0.0.1:${isObject(address) ? Number(address["port"]) : 0}/`;
  try {
    await project("raced", program, `STRANGER=${origin} node server.cjs`);
    const { port } = await start("raced", "running");
    expect(await page("raced")).toBe(`mine on ${port}`);
  } finally {
    for (const server of [opener, ...strangers]) server.close();
  }
  await remove("raced");
});

test("one that prints 100 MB answers meanwhile, and its log stays small", async () => {
  const program = `${serve("loud")}
const line = "x".repeat(1023) + "\\n";
let left = 100 * 1024;
const more = () => { while (left-- > 0) if (!process.stdout.write(line)) return process.stdout.once("drain", more); console.log("all said"); };
more();`;
  await project("loud", program);
  await start("loud", "running");
  expect(await page("loud")).toBe("loud");
  const log = await until(
    async () => String((await command("fetch-logs", { slug: "loud", cursor: "0" }))["truncated"]),
    (truncated) => truncated === "true",
  );
  expect(log).toBe("true");
  await remove("loud");
});

test("one that dies is said with its last lines, and each visit after a pause brings it back", async () => {
  const program = `${serve("brief")} process.on("SIGUSR2", () => { console.log("out of flour"); process.exit(9); });
require("node:fs").writeFileSync("pid.txt", String(process.pid));`;
  await project("brief", program);
  await start("brief", "running");
  for (const deaths of [1, 2]) {
    expect(await page("brief")).toBe("brief");
    const { content } = await command("read-file", { slug: "brief", filePath: "pid.txt" });
    process.kill(Number(content), "SIGUSR2");
    const { reason, lastLines } = await until(
      () => view("brief"),
      ({ state }) => state === "crashed",
    );
    expect(reason).toBe("The dev server ended by itself (code 9)");
    expect(lastLines.at(-1)).toBe("out of flour");
    // A visit at once sees why, and starts nothing.
    const seen = await stack.request("brief.preview.localhost", "/", { headers: { accept: "text/html" } });
    expect([seen.status, seen.text.includes("out of flour")]).toEqual([503, true]);
    expect((await view("brief")).state).toBe("crashed");
    if (deaths === 1) await start("brief", "running"); // by hand: now
  }
  await remove("brief");
});
