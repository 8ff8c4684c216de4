import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { expect, test } from "vitest";
import { WebSocket } from "ws";

type Child = ChildProcessByStdio<Writable, Readable, null>;

async function start(
  example: string,
  env: Record<string, string>,
): Promise<{ child: Child; line: string; origin: string }> {
  const child = spawn("node", [`examples/${example}/server.${example === "plain-http" ? "mjs" : "ts"}`], {
    env: { ...process.env, PORT: "0", ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line]: unknown[] = await once(createInterface({ input: child.stdout }), "line");
  return { child, line: String(line), origin: /http:\S+$/.exec(String(line))?.[0] ?? "" };
}

test("live-counter says where it listens, serves its version, and ends cleanly on SIGTERM with pages open", async () => {
  const { child, line, origin } = await start("live-counter", {
    PULSE_DEPLOYMENT_ID: "v1",
    GREETING: "<i>Hi",
  });
  expect(line).toMatch(/^live-counter v1 listening on http:\/\/127\.0\.0\.1:\d+$/);
  const html = await (await fetch(origin)).text();
  expect(html).toContain('<span id="version">v1</span>');
  expect(html).toContain("/_pulse/client.js?pulse_deployment=v1");
  expect(html).toContain("&lt;i>Hi");
  const control = new WebSocket(`${origin.replace("http", "ws")}/_pulse/session`);
  await once(control, "message");
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
});

test("a counter continues for the session that it belongs to", async () => {
  const { child, origin } = await start("live-counter", { PULSE_DEPLOYMENT_ID: "v1" });
  const url = `${origin.replace("http", "ws")}/live?session=01234567-89ab-cdef-0123-456789abcdef`;
  const countsTo = (target: number) =>
    new Promise<number>((done) => {
      const socket = new WebSocket(url);
      let first: number | undefined;
      socket.on("message", (data) => {
        first ??= Number(data);
        if (Number(data) < target) return;
        socket.close();
        done(first);
      });
    });
  expect(await countsTo(3)).toBe(0);
  expect(await countsTo(4)).toBeGreaterThanOrEqual(3);
  const stale = new WebSocket(`${url}&pulse_deployment=v0`);
  const [code] = await once(stale, "close");
  expect(code).toBe(4409);
  child.kill("SIGTERM");
  await once(child, "exit");
});

test("live-counter ends when its parent's pipe closes, if told to", async () => {
  const { child } = await start("live-counter", { SIGNALBOX_PARENT_PIPE: "1" });
  child.stdin.end();
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
});

test("plain-http says its version and is healthy", async () => {
  const { child, line, origin } = await start("plain-http", { VERSION: "v7" });
  expect(line).toMatch(/^plain-http v7 listening on /);
  expect(await (await fetch(`${origin}/version`)).text()).toBe("v7\n");
  expect(await (await fetch(origin)).text()).toContain('<strong id="version">v7</strong>');
  expect((await fetch(`${origin}/healthz`)).status).toBe(200);
  expect((await fetch(`${origin}/other`)).status).toBe(404);
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
});
