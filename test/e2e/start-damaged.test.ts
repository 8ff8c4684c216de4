import { once } from "node:events";
import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { descendants, living, newHome, removeHomes, start } from "../helpers/npm-start.ts";
import { until } from "../helpers/stack.ts";

/** A home that a stack has used and left in order. */
let used: string;
beforeAll(async () => {
  used = await newHome();
  const first = start({ SIGNALBOX_HOME: used, SIGNALBOX_DEMO: "0" });
  await first.ready;
  first.child.kill("SIGINT");
  await first.exited;
});
afterAll(removeHomes);

async function usedHome(): Promise<string> {
  const home = await newHome();
  await cp(used, home, { recursive: true });
  return home;
}

/** What a start says that fails. */
async function complaint(home: string, env: Record<string, string> = {}): Promise<string> {
  const stack = start({ SIGNALBOX_HOME: home, SIGNALBOX_DEMO: "0", ...env });
  // Its output may come after its exit.
  expect((await once(stack.child, "close"))[0]).toBe(1);
  expect(stack.errors()).not.toContain("    at ");
  return stack.errors();
}

test.concurrent("a home in order is taken again", async () => {
  const stack = start({ SIGNALBOX_HOME: await usedHome(), SIGNALBOX_DEMO: "0" });
  await stack.ready;
  stack.child.kill("SIGINT");
  expect(await stack.exited).toBe(0);
});

test.concurrent.for([
  ["", "it is empty"],
  ['{"url": "http://loc', "it isn't whole JSON"],
  ["[]", "it has no controlToken"],
  ['{"controlToken": 7}', "it has no controlToken"],
])("local.json of %j stops the start, and stays as it is", async ([text = "", why]) => {
  const home = await usedHome();
  const file = join(home, "local.json");
  await writeFile(file, text);
  expect(await complaint(home)).toMatch(
    new RegExp(
      `^Signalbox can't start: ${file} is damaged: ${why}\\. .*Restore it from a backup, or delete it`,
    ),
  );
  expect(await readFile(file, "utf8")).toBe(text);
});

test.concurrent("a damaged lock is named, with the remedy", async () => {
  const home = await newHome();
  await writeFile(
    join(home, "home.lock"),
    "no lock at all, and longer than a header of a hundred bytes ".repeat(5),
  );
  expect(await complaint(home)).toContain(
    `The lock ${join(home, "home.lock")} can't be taken (file is not a database). Make sure`,
  );
});

async function storeFile(home: string): Promise<string> {
  const directory = join(home, "state/signalbox-EmbeddedStore");
  const name = (await readdir(directory)).find((one) => /^[0-9a-f]{64}\.sqlite$/.test(one));
  return join(directory, name ?? "missing");
}

test.concurrent.for<[name: string, harm: (file: string) => Promise<void>, why: string]>([
  ["is empty", (file) => truncate(file, 0), "it is empty"],
  ["holds something else", (file) => writeFile(file, "x".repeat(8_192)), "it isn't a database"],
  ["is cut", (file) => truncate(file, 5_000), "database disk image is malformed"],
])("a state file that %s stops the start, and isn't taken for a new one", async ([, harm, why]) => {
  const home = await usedHome();
  const file = await storeFile(home);
  // What a checkpoint would bring back.
  await Promise.all(["-wal", "-shm"].map((more) => rm(`${file}${more}`, { force: true })));
  await harm(file);
  expect(await complaint(home)).toContain(`The state file ${file} is damaged: ${why}. Restore it`);
});

test.concurrent("a state directory that was emptied is no new store", async () => {
  const home = await usedHome();
  await rm(join(home, "state"), { recursive: true });
  expect(await complaint(home)).toContain(`The store in ${join(home, "state")} is gone`);
  await rm(join(home, "local.json"));
  const anew = start({ SIGNALBOX_HOME: home, SIGNALBOX_DEMO: "0" });
  await anew.ready;
  anew.child.kill("SIGINT");
  expect(await anew.exited).toBe(0);
});

test.concurrent("a store without its tables is no new store", async () => {
  const home = await usedHome();
  const database = new DatabaseSync(await storeFile(home));
  const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
  // SQLite keeps `sqlite_sequence` even then.
  for (const { name } of tables)
    if (!String(name).startsWith("sqlite_")) database.exec(`DROP TABLE "${String(name)}"`);
  database.close();
  expect(await complaint(home)).toContain(`The store in ${join(home, "state")} is gone`);
});

/** A home with the example in it, and the runner's record of that. */
async function homeWithExample(): Promise<{ home: string; manifest: string }> {
  const home = await newHome();
  const first = start({ SIGNALBOX_HOME: home });
  await first.ready;
  first.child.kill("SIGINT");
  await first.exited;
  const manifest = join(home, "workspace/.signalbox/deployments/live-counter/v1/deployment.json");
  return { home, manifest };
}

test.concurrent("a damaged record of the example is named at once, with the remedy", async () => {
  const { home, manifest } = await homeWithExample();
  await truncate(manifest, 0);
  const begun = performance.now();
  const said = await complaint(home, { SIGNALBOX_DEMO: "1" });
  expect(said).toContain(`${manifest} is damaged (it is empty). Restore it`);
  // Far less than a start waits for an example that may still come.
  expect(performance.now() - begun).toBeLessThan(60_000);
});

test.concurrent("SIGTERM ends a start that waits for the example", async () => {
  const { home, manifest } = await homeWithExample();
  const text = await readFile(manifest, "utf8");
  await writeFile(manifest, text.replace(/"start":"[^"]*"/, '"start":"sleep 1000"'));
  const stack = start({ SIGNALBOX_HOME: home });
  const started = await until(
    () => descendants(stack.child.pid ?? 0),
    (found) => found.length > 4,
  );
  stack.child.kill("SIGTERM");
  expect(await stack.exited).toBe(0);
  expect(stack.lines.join()).not.toContain("is ready");
  await until(
    () => living(started),
    (left) => left.length === 0,
  );
});

test.concurrent("a runner that can't start says why, and which workspace", async () => {
  const home = await newHome();
  await writeFile(join(home, "workspace"), "a file in its place");
  expect(await complaint(home)).toContain(
    `The local runner's workspace ${home}/workspace can't be used: ENOTDIR`,
  );
  await rm(join(home, "workspace"));
  await mkdir(join(home, "workspace/.signalbox"), { recursive: true });
  const lock = join(home, "workspace/.signalbox/runner.lock");
  await writeFile(lock, "not a database ".repeat(20));
  expect(await complaint(home)).toContain(`The lock ${lock} can't be taken (file is not a database)`);
});

test.concurrent.for(["SIGTERM", "SIGKILL"] as const)(
  "%s to npm ends all that npm start has started",
  async (signal) => {
    const stack = start({ SIGNALBOX_HOME: await newHome(), SIGNALBOX_DEMO: "0" }, "npm");
    await stack.ready;
    const started = await descendants(stack.child.pid ?? 0);
    expect(started.length).toBeGreaterThan(3);
    stack.child.kill(signal);
    await until(
      () => living(started),
      (left) => left.length === 0,
    );
  },
);

test.concurrent("the local runner gets what its caller reaches the outside with", async () => {
  const network = {
    NODE_EXTRA_CA_CERTS: "/nowhere/ca.pem",
    https_proxy: "http://me:secret@proxy.test:3128",
    npm_config_registry: "https://npm.test/",
  };
  const stack = start({
    SIGNALBOX_HOME: await newHome(),
    SIGNALBOX_DEMO: "0",
    ...network,
    CI_TOKEN: "secret",
  });
  await stack.ready;
  const environments = await Promise.all(
    (await descendants(stack.child.pid ?? 0)).map((pid) =>
      readFile(`/proc/${pid}/environ`, "utf8").catch(() => ""),
    ),
  );
  const runner = environments.find((text) => text.includes("RUNNER_ID=local"))?.split("\0") ?? [];
  // A running runner shows no values.
  for (const [name, value] of Object.entries(network))
    expect(runner).toContain(`${name}=${"*".repeat(value.length)}`);
  expect(runner).toContain(
    `RUNNER_INHERIT_ENV=${["https_proxy", "npm_config_registry", "NODE_EXTRA_CA_CERTS"].join(",")}`,
  );
  expect(runner.some((line) => line.startsWith("CI_TOKEN"))).toBe(false);
  stack.child.kill("SIGINT");
  await stack.exited;
});
