import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { installCommand } from "../../runner/packages/install-command.ts";
import { Slots } from "../../runner/deployments/slots.ts";
import { parseKey, parseSpec } from "../../runner/deployments/spec.ts";
import { backoffMs, deploymentTiming } from "../../runner/deployments/timing.ts";
import { cleanEnvironment } from "../../runner/processes/environment.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "signalbox-specs-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const source = { sha256: "a".repeat(64) };

test("a spec is taken as it is", () => {
  const spec = { source, install: "npm ci", build: "npm run build", start: "npm start", env: { A: "1" } };
  expect(parseSpec({ ...spec, healthPath: "/up?x=1" })).toEqual({ ...spec, healthPath: "/up?x=1" });
});

test.each([
  ["nothing", null, undefined],
  ["no source", { start: "x" }, "source"],
  ["a hash that isn't one", { source: { sha256: "../../etc/passwd" }, start: "x" }, "source.sha256"],
  ["a hash in upper case", { source: { sha256: "A".repeat(64) }, start: "x" }, "source.sha256"],
  ["no start", { source }, "start"],
  ["an empty start", { source, start: "  " }, "start"],
  ["a start of arguments", { source, start: ["node", "x"] }, "start"],
  ["a NUL in a command", { source, start: "a\0b" }, "start"],
  ["a huge command", { source, start: "x".repeat(9_000) }, "start"],
  ["an unknown field", { source, start: "x", cwd: "/" }, undefined],
  ["an unknown field of the source", { source: { ...source, path: "/" }, start: "x" }, "source"],
  ["a variable's name that isn't one", { source, start: "x", env: { "A=B": "1" } }, "env.A=B"],
  ["a variable that isn't a string", { source, start: "x", env: { A: 1 } }, "env.A"],
  ["a NUL in a variable", { source, start: "x", env: { A: "a\0b" } }, "env.A"],
  ["the marker's variable", { source, start: "x", env: { SIGNALBOX_PROCESS: "x" } }, "env"],
  ["too large an environment", { source, start: "x", env: { A: "x".repeat(50_000) } }, "env"],
  ["a health path with a host", { source, start: "x", healthPath: "http://evil/" }, "healthPath"],
  ["a health path with a line end", { source, start: "x", healthPath: "/\r\nx: y" }, "healthPath"],
])("a spec with %s is refused", (_name, spec, field) => {
  expect(() => parseSpec(spec)).toThrow(expect.objectContaining({ code: "invalid_request", field }) as Error);
});

test.each([
  "",
  "shop",
  "shop/",
  "/v1",
  "shop/v1/x",
  "../v1",
  "shop/..",
  "Shop/v1",
  "shop/v_1",
  ".home/v1",
  `shop/${"v".repeat(25)}`,
])("the key %j is refused", (key) =>
  expect(() => parseKey(key)).toThrow(expect.objectContaining({ code: "invalid_request" }) as Error),
);

const dependencies = { dependencies: { left: "1" } };
test.each<[name: string, files: Record<string, string>, command: string | null]>([
  ["no manifest", {}, null],
  ["no dependencies", { "package.json": "{}" }, null],
  ["dependencies and no lockfile", { "package.json": JSON.stringify(dependencies) }, "npm i"],
  ["npm's lockfile", { "package.json": JSON.stringify(dependencies), "package-lock.json": "{}" }, "npm ci"],
  [
    "npm's shrinkwrap",
    { "package.json": JSON.stringify(dependencies), "npm-shrinkwrap.json": "{}" },
    "npm ci",
  ],
  [
    "pnpm's lockfile",
    { "package.json": JSON.stringify(dependencies), "pnpm-lock.yaml": "" },
    "pnpm i --frozen-lockfile",
  ],
  [
    "yarn's lockfile",
    { "package.json": JSON.stringify(dependencies), "yarn.lock": "" },
    "yarn install --frozen-lockfile",
  ],
  [
    "yarn's lockfile and its version",
    { "package.json": JSON.stringify({ ...dependencies, packageManager: "yarn@4.1.0" }), "yarn.lock": "" },
    "yarn install --immutable",
  ],
  [
    "bun's lockfile",
    { "package.json": JSON.stringify(dependencies), "bun.lock": "" },
    "bun install --frozen-lockfile",
  ],
  [
    "yarn's later lockfile",
    { "package.json": JSON.stringify(dependencies), "yarn.lock": "__metadata:\n  version: 8\n" },
    "yarn install --immutable",
  ],
  ["a byte order mark", { "package.json": `\ufeff${JSON.stringify(dependencies)}` }, "npm i"],
  [
    "a byte order mark and a package manager",
    { "package.json": `\ufeff${JSON.stringify({ ...dependencies, packageManager: "pnpm@9.0.0" })}` },
    "pnpm i",
  ],
  [
    "a package manager and no lockfile",
    { "package.json": JSON.stringify({ ...dependencies, packageManager: "pnpm@9.0.0" }) },
    "pnpm i",
  ],
])("the default install command for %s", async (_name, files, command) => {
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  expect(await installCommand(directory)).toBe(command);
});

test("a manifest that can't be read is a clear failure", async () => {
  await writeFile(join(directory, "package.json"), "{");
  await expect(installCommand(directory)).rejects.toMatchObject({ code: "invalid_request" });
});

test("the pause after a crash doubles up to a minute and varies", () => {
  for (const [failures, most] of [
    [1, 1_000],
    [2, 2_000],
    [6, 32_000],
    [7, 60_000],
    [1_000, 60_000],
  ] as const) {
    for (let draw = 0; draw < 50; draw++) {
      const pause = backoffMs(failures, deploymentTiming);
      expect(pause).toBeGreaterThanOrEqual(most / 2);
      expect(pause).toBeLessThanOrEqual(most);
    }
  }
});

test("a child's environment is an allow-list: none of the runner's secrets and settings pass", () => {
  const from = {
    PATH: "/bin",
    TZ: "UTC",
    RUNNER_SHARED_SECRET: "s",
    ANTHROPIC_API_KEY: "s",
    NODE_ENV: "production",
    NODE_OPTIONS: "--inspect",
    LD_PRELOAD: "x",
    HOME: "/root",
    HTTPS_PROXY: "http://user:p@ss@proxy",
    "npm_config_//registry/:_authToken": "s",
    npm_config__authToken: "s",
    NPM_TOKEN: "s",
  };
  const paths = { home: "/h", temporary: "/t" };
  expect(cleanEnvironment({ ...paths, from })).toEqual({
    PATH: "/bin",
    TZ: "UTC",
    HOME: "/h",
    TMPDIR: "/t",
    HTTPS_PROXY: "http://proxy",
  });
  const given = cleanEnvironment({
    ...paths,
    from,
    inherit: ["HTTPS_PROXY"],
    given: { NODE_ENV: "test" },
    binaries: ["/b"],
  });
  expect(given).toMatchObject({ HTTPS_PROXY: "http://user:p@ss@proxy", NODE_ENV: "test", PATH: "/b:/bin" });
});

test("a child knows how its machine reaches the outside, in either case, and nothing that is empty", () => {
  const network = {
    NODE_EXTRA_CA_CERTS: "/ca.pem",
    SSL_CERT_FILE: "/ca@work.pem",
    SSL_CERT_DIR: "/certs",
    HTTP_PROXY: "http://proxy:3128",
    https_proxy: "http://proxy:3128",
    NO_PROXY: "localhost,.corp",
    npm_config_registry: "https://npm.corp/a@b/",
    NPM_CONFIG_CAFILE: "/ca.pem",
  };
  const paths = { home: "/h", temporary: "/t" };
  const from = { PATH: "/bin", ...network, no_proxy: "", npm_config_noproxy: "" };
  expect(cleanEnvironment({ ...paths, from })).toEqual({
    PATH: "/bin",
    HOME: "/h",
    TMPDIR: "/t",
    ...network,
  });
  const bare = { ...from, https_proxy: "me:secret@proxy:3128" };
  expect(cleanEnvironment({ ...paths, from: bare })["https_proxy"]).toBe("proxy:3128");
});

test("slots run so much at a time, in order, and let waiters go that gave up", async () => {
  const slots = new Slots(1);
  const order: string[] = [];
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const never = new AbortController().signal;
  const first = slots.run(never, () => gate.then(() => order.push("first")));
  const leaving = new AbortController();
  const second = slots.run(leaving.signal, async () => order.push("second"));
  const third = slots.run(never, async () => order.push("third"));
  leaving.abort(new Error("gave up"));
  await expect(second).rejects.toThrow("gave up");
  open();
  await Promise.all([first, third]);
  expect(order).toEqual(["first", "third"]);
});
