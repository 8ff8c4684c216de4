import { createServer } from "node:http";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { BuildEvent } from "../../functions/protocol/builds.ts";
import { isObject } from "../../functions/protocol/control.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

let root: string;
let runner: UnconnectedRunner;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-repairs-"));
  await startRunner();
});
afterEach(async () => {
  await runner.stop();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
});

async function startRunner(): Promise<void> {
  runner = await UnconnectedRunner.start({
    root,
    agents: { chosen: AGENT, table: {}, vendors: {} },
    timing: { installStallMs: 2_000 },
    confinement: { level: "none" },
  });
}

async function build(manifest: object, files: Record<string, string> = {}): Promise<void> {
  await runner.json("PUT", "/projects/shop", { name: "Shop", agent: null });
  for (const [name, content] of Object.entries({ "package.json": JSON.stringify(manifest), ...files }))
    await writeFile(join(root, "shop", name), content);
  const body = { id: "shop.first1", prompt: "many 0", agent: null };
  expect((await runner.json("POST", "/projects/shop/builds", body)).status).toBe(202);
}

async function state(...wanted: string[]): Promise<Record<string, unknown>> {
  return until(`the build is ${wanted.join(" or ")}`, async () => {
    const { body } = await runner.json("GET", "/projects/shop/builds/shop.first1");
    return wanted.includes(String(body["state"])) ? body : null;
  });
}

async function events(): Promise<BuildEvent[]> {
  const file = join(root, ".signalbox/projects/shop/builds/shop.first1/events.jsonl");
  const lines = (await readFile(file, "utf8").catch(() => "")).split("\n");
  return lines.slice(0, -1).map((line) => JSON.parse(line) as BuildEvent);
}

test("an agent gets the error of a server that doesn't come up three times, and then the build fails", async () => {
  await build({ scripts: { dev: "node -e \"console.error('no flour'); process.exit(4)\"" } });
  expect(await state("failed")).toMatchObject({ reason: "The start command exited with code 4" });
  const repairs = (await events()).filter((event) => event.type === "repair");
  expect(repairs).toMatchObject(
    [1, 2, 3].map((attempt) => ({
      step: "start",
      attempt,
      limit: 3,
      error: "The start command exited with code 4",
    })),
  );
});

test("a runner that is killed during a repair doesn't begin to count again", async () => {
  await build({ scripts: { dev: 'node -e "setTimeout(() => process.exit(4), 300)"' } });
  await until("the second repair", async () =>
    (await events()).some((event) => event.type === "repair" && event.attempt === 2),
  );
  await runner.kill();
  await startRunner();
  await state("interrupted");
  const manifest: unknown = JSON.parse(
    await readFile(join(root, ".signalbox/projects/shop/builds/shop.first1/build.json"), "utf8"),
  );
  expect(isObject(manifest) && manifest["repairs"]).toBeGreaterThanOrEqual(2);
  const count = (await events()).filter((event) => event.type === "repair").length;
  // A next prompt is a new build; this one never goes on.
  const body = { id: "shop.second1", prompt: "page there", agent: null };
  await runner.json("POST", "/projects/shop/builds", body);
  await until("the next build's end", async () => {
    const { body: seen } = await runner.json("GET", "/projects/shop/builds/shop.second1");
    return seen["state"] === "failed" || seen["state"] === "completed";
  });
  expect((await events()).filter((event) => event.type === "repair").length).toBe(count);
});

test("an install that gets nowhere is ended, with the reason", async () => {
  const silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const address = silent.address();
  const port = isObject(address) ? Number(address["port"]) : 0;
  try {
    const registry = `registry=http://127.0.0.1:${port}/\n`;
    await build({ dependencies: { flour: "1.0.0" }, scripts: { dev: "node x" } }, { ".npmrc": registry });
    await until("the install was ended", async () =>
      (await events()).some(
        (event) =>
          event.type === "step" &&
          event.step === "install" &&
          event.detail === "The install got nowhere for 2 s",
      ),
    );
    await runner.json("POST", "/projects/shop/builds/shop.first1/cancel", { by: "test" });
  } finally {
    silent.closeAllConnections();
    silent.close();
  }
});
