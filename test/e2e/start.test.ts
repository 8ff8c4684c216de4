import { once } from "node:events";
import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { z } from "zod";
import { ControlClient } from "../../scripts/client/control-client.ts";
import { descendants, isHosted, living, newHome, removeHomes, start } from "../helpers/npm-start.ts";
import { until } from "../helpers/stack.ts";

afterAll(removeHomes);

const local = z.object({ url: z.string(), controlToken: z.string(), runnerSharedSecret: z.string() });

async function readLocal(home: string): Promise<z.infer<typeof local>> {
  return local.parse(JSON.parse(await readFile(join(home, "local.json"), "utf8")));
}

test.concurrent(
  "the stack starts with the example, ends with everything it started, and finds its state again",
  async () => {
    const home = await newHome();
    const first = start({ SIGNALBOX_HOME: home });
    const url = await first.ready;
    const settings = await readLocal(home);
    expect(settings.url).toBe(url);
    expect((await stat(join(home, "local.json"))).mode & 0o777).toBe(0o600);
    expect(await (await fetch(`${url}/_signalbox/healthz`)).json()).toEqual({ ok: true });
    const elsewhere = await fetch(`${url}/_signalbox/`);
    expect(elsewhere.status).toBe(404);
    const dashboard = elsewhere.headers.get("link")?.match(/^<(.*)>; rel="alternate"$/)?.[1] ?? "";
    expect(first.lines).toContain(`Signalbox is ready: ${dashboard}`);
    const page = await fetch(`${url}/`);
    expect(page.headers.get("x-pulse-selected-deployment")).toBe("v1");
    expect(await page.text()).toContain('<span id="version">v1</span>');
    const control = new ControlClient(url, settings.controlToken);
    await control.call("PUT", "/apps/kept", { hosts: ["kept.test"] });

    const started = await descendants(first.child.pid ?? 0);
    expect(started.length).toBeGreaterThan(1);
    first.child.kill("SIGINT");
    expect(await first.exited).toBe(0);
    await until(
      () => living(started),
      (left) => left.length === 0,
    );

    const second = start({ SIGNALBOX_HOME: home });
    const again = await second.ready;
    expect((await readLocal(home)).controlToken).toBe(settings.controlToken);
    expect(await new ControlClient(again, settings.controlToken).call("GET", "/apps/kept")).toMatchObject({
      version: 1,
    });
    expect(await (await fetch(`${again}/`)).text()).toContain('<span id="version">v1</span>');

    const third = start({ SIGNALBOX_HOME: home });
    expect(await third.exited).toBe(1);
    expect(third.errors()).toContain("is in use by the stack with process id");

    const left = await descendants(second.child.pid ?? 0);
    const hosted = (await Promise.all(left.map(async (pid) => ((await isHosted(pid)) ? [pid] : [])))).flat();
    expect(hosted.length).toBeGreaterThan(0);
    second.child.kill("SIGKILL");
    await until(
      () => living(left.filter((pid) => !hosted.includes(pid))),
      (pids) => pids.length === 0,
    );
    const fourth = start({ SIGNALBOX_HOME: home });
    expect(await (await fetch(`${await fourth.ready}/`)).text()).toContain('<span id="version">v1</span>');
    // What a killed runner hosted can only be ended by its successor.
    expect(await living(hosted)).toEqual([]);
    fourth.child.kill("SIGTERM");
    expect(await fourth.exited).toBe(0);
  },
);

test.concurrent("without the example it serves no app, and says how to deploy one", async () => {
  const stack = start({ SIGNALBOX_HOME: await newHome(), SIGNALBOX_DEMO: "0" });
  const response = await fetch(await stack.ready);
  expect(response.status).toBe(404);
  expect(await response.text()).toContain("PUT /_signalbox/api/v1/apps/NAME");
  stack.child.kill("SIGINT");
  expect(await stack.exited).toBe(0);
});

test.concurrent("the cron trigger fires on the minute", async () => {
  const home = await newHome();
  const stack = start({ SIGNALBOX_HOME: home, SIGNALBOX_DEMO: "0" });
  const control = new ControlClient(await stack.ready, (await readLocal(home)).controlToken);
  expect(await control.call("GET", "/janitor/last")).toEqual({ report: null, stale: true });
  const last = await until(
    async () => JSON.stringify(await control.call("GET", "/janitor/last")),
    (report) => report.includes('"completed"'),
    75_000,
  );
  expect(last).toContain('"stale":false');
  stack.child.kill("SIGINT");
  await stack.exited;
});

const mistakes: [string, Record<string, string>, string][] = [
  ["a port that isn't one", { PORT: "80a" }, "PORT must be"],
  ["a flag that isn't one", { SIGNALBOX_DEMO: "yes" }, "SIGNALBOX_DEMO must be 0 or 1"],
  [
    "half of Upstash's settings",
    { UPSTASH_REDIS_REST_URL: "https://x.example" },
    "UPSTASH_REDIS_REST_TOKEN is missing",
  ],
  ["a secret that is too short", { CONTROL_TOKEN: "short" }, "CONTROL_TOKEN must have at least 16"],
];
test.concurrent.each(mistakes)("%s stops the start, naming the setting", async (_name, env, message) => {
  const stack = start({ SIGNALBOX_HOME: await newHome(), ...env });
  expect(await stack.exited).toBe(1);
  expect(stack.errors()).toContain(message);
  expect(stack.errors()).not.toContain("    at ");
});

test.concurrent("a port that is taken stops the start, and leaves nothing running", async () => {
  const squatter = createServer().listen(0, "127.0.0.1");
  await once(squatter, "listening");
  const address = squatter.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const stack = start({ SIGNALBOX_HOME: await newHome(), PORT: String(port) });
  expect(await stack.exited).toBe(1);
  expect(stack.errors()).toContain("Is the port taken?");
  squatter.close();
});
