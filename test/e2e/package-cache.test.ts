import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { ConfinementSettings } from "../../runner/confinement/settings.ts";
import { PackageCache } from "../../runner/package-cache/package-cache.ts";
import { Disk } from "../../runner/workspaces/disk.ts";
import { REGISTRY_CA, startRegistry } from "../helpers/npm-registry.ts";
import { UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-packages-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const greeting = (text: string) => ({
  "package.json": JSON.stringify({ name: "greeting", version: "1.0.0", main: "index.js" }),
  "index.js": text,
});

async function start(
  registry: string,
  confinement: Partial<ConfinementSettings>,
): Promise<{ host: UnconnectedRunner; root: string }> {
  const root = await temporary();
  const env = { NODE_EXTRA_CA_CERTS: REGISTRY_CA, npm_config_registry: registry };
  const host = await UnconnectedRunner.start({ root, confinement }, env);
  cleanups.push(() => host.stop());
  return { host, root };
}

/** Makes a project of these files, as an import does, and answers where it is once that has ended. */
async function installed(
  { host, root }: { host: UnconnectedRunner; root: string },
  slug: string,
  files: Record<string, string> = {},
): Promise<string> {
  const sha256 = await host.upload({
    "package.json": JSON.stringify({ name: slug, dependencies: { greeting: "1.0.0" } }),
    ...files,
  });
  await host.json("PUT", `/projects/${slug}`, { name: slug, agent: null, source: { sha256 } });
  const id = `${slug}.import`;
  const begun = await host.json("POST", `/projects/${slug}/builds`, { id, prompt: "x", agent: "import" });
  expect(begun.status).toBe(202);
  await until(`${slug} is installed`, async () => {
    const { state, reason } = (await host.json("GET", `/projects/${slug}/builds/${id}`)).body;
    if (state === "failed") throw new Error(String(reason));
    return state === "completed";
  });
  return join(root, slug);
}

const levels: [string, Partial<ConfinementSettings>][] = [
  ["without confinement", { level: "none" }],
  ["in sandboxes with networks of their own", { sharesNetwork: false }],
];
test.each(levels)("projects share what one of them fetched, %s", async (_name, confinement) => {
  const registry = await startRegistry({ "greeting@1.0.0": greeting("module.exports = 'hello'") });
  cleanups.push(() => registry.close());
  const runner = await start(registry.url, confinement);
  for (const slug of ["one", "two"]) {
    const directory = await installed(runner, slug);
    expect(await readFile(join(directory, "node_modules/greeting/index.js"), "utf8")).toContain("hello");
    // Whoever takes the project elsewhere has no such cache.
    expect(await readFile(join(directory, "package-lock.json"), "utf8")).not.toContain("127.0.0.1");
  }
  expect(registry.asked.filter((path) => path === "/greeting@1.0.0.tgz")).toHaveLength(1);
});

test("a tarball that somebody changed on the disk is fetched again", async () => {
  const registry = await startRegistry({ "greeting@1.0.0": greeting("module.exports = 'hello'") });
  cleanups.push(() => registry.close());
  const runner = await start(registry.url, { level: "none" });
  await installed(runner, "one");
  const store = join(runner.root, ".signalbox/package-cache/tarballs");
  const [name = ""] = await readdir(store);
  await writeFile(join(store, name), "poison");
  const directory = await installed(runner, "two");
  expect(await readFile(join(directory, "node_modules/greeting/index.js"), "utf8")).toContain("hello");
  expect(registry.asked.filter((path) => path === "/greeting@1.0.0.tgz")).toHaveLength(2);
});

test("a project that names a registry gets its packages from there, and nobody else does", async () => {
  const registry = await startRegistry({ "greeting@1.0.0": greeting("module.exports = 'public'") });
  const own = await startRegistry({ "greeting@1.0.0": greeting("module.exports = 'own'") });
  cleanups.push(
    () => registry.close(),
    () => own.close(),
  );
  const runner = await start(registry.url, { level: "none" });
  await runner.host.json("PUT", "/projects/mine", { name: "mine", agent: null });
  await runner.host.json("PUT", "/projects/mine/env", {
    variables: [{ name: "npm_config_registry", value: own.url, secret: false, for: "dev" }],
  });
  await writeFile(
    join(runner.root, "mine/package.json"),
    '{"name":"mine","dependencies":{"greeting":"1.0.0"}}',
  );
  await runner.host.json("POST", "/projects/mine/builds", {
    id: "mine.import",
    prompt: "x",
    agent: "import",
  });
  const file = join(runner.root, "mine/node_modules/greeting/index.js");
  const text = await until("it is installed", () => readFile(file, "utf8").catch(() => null));
  expect(text).toContain("own");
  const other = await installed(runner, "other");
  expect(await readFile(join(other, "node_modules/greeting/index.js"), "utf8")).toContain("public");
});

/** A registry that answers as it is told. */
async function plainRegistry(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

async function open(
  registry: string,
  directory?: string,
  bytes: number | null = null,
): Promise<PackageCache> {
  const root = directory ?? (await temporary());
  const disk = await Disk.open({ root, lowWaterBytes: 0 });
  const cache = await PackageCache.open(
    root,
    disk,
    { ageSeconds: null, bytes },
    { npm_config_registry: registry },
  );
  if (cache === null) throw new Error("there is none");
  cleanups.push(async () => {
    disk.close();
    await cache.close();
  });
  return cache;
}

const tarball = Buffer.from("a tarball, as far as the cache cares");
const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;

test("a tarball that isn't what its packument says is neither kept nor passed on", async () => {
  const registry = await plainRegistry((request, response) => {
    if (request.url?.endsWith(".tgz")) return void response.end("something else");
    const dist = { signatures: [{ keyid: "x" }], tarball: `${registry.url}/pkg/-/pkg-1.0.0.tgz`, integrity };
    response.end(JSON.stringify({ name: "pkg", versions: { "1.0.0": { dist } } }));
  });
  const cache = await open(registry.url);
  const at = `http://127.0.0.1:${cache.port}`;
  const packument = (await (await fetch(`${at}/~/pkg`)).json()) as {
    versions: Record<string, { dist: { tarball: string } }>;
  };
  expect(packument.versions["1.0.0"]?.dist.tarball).toBe(`${at}/~/pkg/-/pkg-1.0.0.tgz`);
  const answer = await fetch(`${at}/pkg/-/pkg-1.0.0.tgz`);
  expect(answer.status).toBe(502);
  expect(cache.status().tarballs).toBe(0);
});

test("what came with a login is kept for nobody, and nothing is written to the registry", async () => {
  const registry = await plainRegistry((_request, response) => response.end(tarball));
  const cache = await open(registry.url);
  const at = `http://127.0.0.1:${cache.port}/private/-/private-1.0.0.tgz`;
  for (let count = 0; count < 2; count++) {
    const answer = await fetch(at, { headers: { authorization: "Bearer mine" } });
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(tarball);
  }
  expect(cache.status().tarballs).toBe(0);
  expect(registry.asked).toHaveLength(2);
  expect((await fetch(at, { method: "PUT", body: "x" })).status).toBe(405);
  expect(registry.asked).toHaveLength(2);
});

test("a registry that has its tarballs elsewhere is followed there", async () => {
  const registry = await plainRegistry((request, response) => {
    if (request.url === "/elsewhere/pkg.bin") return void response.end(tarball);
    response.writeHead(302, { location: `${registry.url}/elsewhere/pkg.bin` }).end();
  });
  const cache = await open(registry.url);
  const answer = await fetch(`http://127.0.0.1:${cache.port}/pkg/-/pkg-1.0.0.tgz`);
  expect(Buffer.from(await answer.arrayBuffer())).toEqual(tarball);
});

test("the cache keeps to its size, and goes on with what it has after a restart, on its former port", async () => {
  const registry = await plainRegistry((_request, response) => response.end(tarball));
  const directory = await temporary();
  const first = await open(registry.url, directory, 2 * tarball.length);
  for (const name of ["a", "b", "c"])
    await (await fetch(`http://127.0.0.1:${first.port}/${name}.tgz`)).arrayBuffer();
  expect(first.status()).toMatchObject({ tarballs: 2, bytes: 2 * tarball.length, misses: 3 });
  await first.close();
  const second = await open(registry.url, directory);
  expect(second.port).toBe(first.port);
  await (await fetch(`http://127.0.0.1:${second.port}/c.tgz`)).arrayBuffer();
  expect(second.status()).toMatchObject({ hits: 1, misses: 0 });
  expect(await second.trim({ ageSeconds: null, bytes: 0 }, true)).toMatchObject({
    bytes: 2 * tarball.length,
  });
  expect(second.status().tarballs).toBe(2);
  await second.trim({ ageSeconds: null, bytes: 0 }, false);
  expect(second.status().tarballs).toBe(0);
});

test("package managers go by themselves where the registry isn't reached", async () => {
  expect(await (await open("http://127.0.0.1:9")).environment()).toBe(null);
});
