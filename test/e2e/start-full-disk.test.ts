import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, expect, test } from "vitest";
import { archive } from "../helpers/archive.ts";
import { removeHomes, start, type Started } from "../helpers/npm-start.ts";
import { server, until } from "../helpers/unconnected-runner.ts";

const mounts: string[] = [];
afterEach(removeHomes);
afterAll(async () => {
  for (const path of mounts) {
    execFileSync("umount", ["-l", path]);
    await rm(path, { recursive: true, force: true });
  }
});

const WATCHED_MS = 12_000;

async function smallHome(): Promise<string | null> {
  const home = await mkdtemp(join(tmpdir(), "signalbox-full-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=300m", "tmpfs", home], { stdio: "ignore" });
  } catch {
    return null;
  }
  mounts.push(home);
  return home;
}

class LocalStack {
  readonly #origin: string;
  readonly #token: string;

  constructor(origin: string, token: string) {
    this.#origin = origin;
    this.#token = token;
  }

  static async of(stack: Started, home: string): Promise<LocalStack> {
    const origin = (await stack.ready).replace("localhost", "127.0.0.1");
    const local = JSON.parse(await readFile(join(home, "local.json"), "utf8")) as { controlToken: string };
    return new LocalStack(origin, local.controlToken);
  }

  async api(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const response = await fetch(`${this.#origin}/_signalbox/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        "content-type": body instanceof Uint8Array ? "application/gzip" : "application/json",
      },
      ...(body === undefined
        ? {}
        : { body: body instanceof Uint8Array ? new Uint8Array(body) : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === "" ? null : (JSON.parse(text) as unknown) };
  }

  /** The status; 0: no answer. fetch doesn't send a Host of its caller's. */
  visit(host: string, path = "/"): Promise<number> {
    return new Promise((resolve) => {
      const asked = request(`${this.#origin}${path}`, { headers: { host }, timeout: 10_000 }, (response) => {
        response.resume().on("close", () => resolve(response.statusCode ?? 0));
      });
      asked.on("timeout", () => asked.destroy()).on("error", () => resolve(0));
      asked.end();
    });
  }
}

/** What the example and the runner's status answer for a while, each answer once. */
async function answersOf(stack: LocalStack, home: string): Promise<string[]> {
  const answers: Record<string, number> = {};
  const begun = performance.now();
  while (performance.now() - begun < WATCHED_MS) {
    const app = await stack.visit("localhost");
    const runner = await stack.api("GET", "/runners/local").then(
      ({ status }) => status,
      () => 0,
    );
    for (const answer of [`app ${app}`, `runner ${runner}`]) answers[answer] = (answers[answer] ?? 0) + 1;
    await sleep(50);
  }
  console.log(answers, execFileSync("df", ["--output=avail", home], { encoding: "utf8" }).split("\n")[1]);
  return Object.keys(answers).toSorted();
}

test("an app that fills the home of the local stack is stopped, and the stack and its other apps go on", async ({
  skip,
}) => {
  const home = (await smallHome()) ?? skip("this user may not mount a file system");
  const stack = await LocalStack.of(start({ SIGNALBOX_HOME: home }), home);
  const { data, sha256 } = await archive({
    "server.mjs": `import * as fs from "node:fs";${server(`
      response.end("up");
      let number = 0;
      const fill = () => {
        try { fs.writeFileSync("filler-" + number++, Buffer.alloc(16 * 1024 * 1024)); } catch {}
        setImmediate(fill);
      };
      if (request.url === "/go") fill();`)}`,
  });
  expect((await stack.api("PUT", "/runners/local/sources", new Uint8Array(data))).status).toBe(200);
  await stack.api("PUT", "/apps/hostile", {});
  const target = {
    kind: "runner",
    runnerId: "local",
    source: { sha256 },
    start: "node server.mjs",
  };
  expect((await stack.api("POST", "/apps/hostile/deployments", { id: "h1", target })).status).toBe(202);
  await until("it serves", async () => (await stack.visit("hostile.localhost")) === 200);
  await stack.visit("hostile.localhost", "/go");
  expect(await answersOf(stack, home)).toEqual(["app 200", "runner 200"]);
  const { body } = await stack.api("GET", "/apps/hostile/deployments/h1/logs");
  expect(JSON.stringify(body)).toContain("disk is nearly full");
  // The state can still be written.
  expect((await stack.api("PUT", "/apps/another", {})).status).toBe(201);
});

test("the stack goes on when another program has filled its home to the last byte", async ({ skip }) => {
  const home = (await smallHome()) ?? skip("this user may not mount a file system");
  const started = start({ SIGNALBOX_HOME: home });
  const stack = await LocalStack.of(started, home);
  // Only what is there before the disk is full can be given back.
  await until("there is ballast", () => stat(join(home, "workspace/.signalbox/ballast")).catch(() => null));
  execFileSync("/bin/sh", ["-c", `cat /dev/zero > ${home}/filler 2> /dev/null || true`]);
  expect(await answersOf(stack, home)).toEqual(["app 200", "runner 200"]);
  expect((await stack.api("PUT", "/apps/another", {})).status).toBe(201);
});
