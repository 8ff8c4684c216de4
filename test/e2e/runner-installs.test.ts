import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, type TestContext } from "vitest";
import { REGISTRY_CA, startProxy, startRegistry, type Registry } from "../helpers/npm-registry.ts";
import { processesWith } from "../helpers/program.ts";
import { server, UnconnectedRunner } from "../helpers/unconnected-runner.ts";

/** Installs as on a machine of a company: its own registry behind TLS, by a certificate that only the company trusts. */

/** A package manager small enough to be read: writes what a lockfile says where Node looks for it. */
const manager = (name: string, version: string): Record<string, string> => ({
  "package.json": JSON.stringify({
    name,
    version,
    bin: { [name.replace("@yarnpkg/cli-dist", "yarn")]: "run.js" },
  }),
  "run.js": `#!/usr/bin/env node
const { mkdirSync, writeFileSync } = require("node:fs");
console.log("${name} ${version} " + process.argv.slice(2).join(" "));
mkdirSync("node_modules/greeting", { recursive: true });
writeFileSync("node_modules/greeting/index.js", "module.exports = '${name} ${version}'");
`,
});

let registry: Registry;
beforeAll(async () => {
  registry = await startRegistry({
    "greeting@1.0.0": {
      "package.json": JSON.stringify({ name: "greeting", version: "1.0.0", main: "index.js" }),
      "index.js": "module.exports = 'from the registry'",
    },
    "pnpm@12.21.0": manager("pnpm", "12.21.0"),
    "pnpm@8.15.9": manager("pnpm", "8.15.9"),
    "pnpm@10.3.0": manager("pnpm", "10.3.0"),
    "yarn@1.22.22": manager("yarn", "1.22.22"),
    "@yarnpkg/cli-dist@4.18.1": manager("@yarnpkg/cli-dist", "4.18.1"),
    "bun@1.4.5": { ...manager("bun", "1.4.5"), "install.js": "" },
  });
});
afterAll(() => registry.close());

async function openRunner(
  context: TestContext,
  env: Record<string, string> = {},
): Promise<UnconnectedRunner> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-installs-"));
  const runner = await UnconnectedRunner.start(
    { root },
    {
      NODE_EXTRA_CA_CERTS: REGISTRY_CA,
      npm_config_registry: registry.url,
      RUNNER_SHARED_SECRET: "hush",
      ...env,
    },
  );
  context.onTestFinished(async () => {
    await runner.stop();
    context.expect(processesWith(root)).toEqual([]);
    context.expect(await readdir(join(root, ".signalbox/package-managers"))).not.toContain(".partial");
    await rm(root, { recursive: true, force: true });
  });
  return runner;
}

const packageJson = (more: Record<string, unknown> = {}): string =>
  JSON.stringify({ name: "app", version: "1.0.0", dependencies: { greeting: "1.0.0" }, ...more });
const app = {
  "package.json": packageJson(),
  "server.mjs": `import greeting from "greeting";\n${server("response.end(greeting)")}`,
};

async function served(runner: UnconnectedRunner, key: string, tree: Record<string, string>): Promise<string> {
  const sha256 = await runner.upload(tree);
  await runner.put(key, { source: { sha256 }, start: "node server.mjs" });
  const { port, reason, lastLines } = await runner.reaches(key, "running", "failed");
  expect([reason, lastLines]).toEqual([null, []]);
  return (await fetch(`http://127.0.0.1:${port}/`)).text();
}

test.concurrent(
  "an install trusts the machine's certificate and asks the machine's registry",
  async (context) => {
    const runner = await openRunner(context);
    expect(await served(runner, "shop/v1", app)).toBe("from the registry");
  },
);

test.concurrent.for(["HTTPS_PROXY", "https_proxy", "npm_config_https_proxy", "NPM_CONFIG_HTTPS_PROXY"])(
  "an install goes through the proxy of %s",
  async (name, context) => {
    const proxy = await startProxy();
    context.onTestFinished(() => proxy.close());
    // npm sets the first of these for the programs that it starts.
    const runner = await openRunner(context, { npm_config_noproxy: "", NO_PROXY: "", [name]: proxy.url });
    expect(await served(runner, "shop/v1", app)).toBe("from the registry");
    expect(proxy.connected).toContain(`localhost:${registry.port}`);
  },
);

test.concurrent("a package.json that begins with a byte order mark is read", async (context) => {
  const runner = await openRunner(context);
  const marked = { ...app, "package.json": `\ufeff${packageJson()}` };
  expect(await served(runner, "shop/v1", marked)).toBe("from the registry");
});

test.concurrent.for<[lock: string, text: string, packageManager: string | undefined, greeting: string]>([
  ["pnpm-lock.yaml", "lockfileVersion: '9.0'\n", undefined, "pnpm 12.21.0"],
  ["pnpm-lock.yaml", "lockfileVersion: '6.0'\n", undefined, "pnpm 8.15.9"],
  ["pnpm-lock.yaml", "lockfileVersion: '9.0'\n", "pnpm@10.3.0+sha512.abc", "pnpm 10.3.0"],
  ["yarn.lock", "# yarn lockfile v1\n", undefined, "yarn 1.22.22"],
  ["yarn.lock", "__metadata:\n  version: 8\n", undefined, "@yarnpkg/cli-dist 4.18.1"],
  ["bun.lock", "{}", undefined, "bun 1.4.5"],
])(
  "%s %j with packageManager %s is installed by a package manager that the runner brings",
  async (given, context) => {
    const [lock, text, packageManager, greeting] = given;
    const runner = await openRunner(context);
    const source = { ...app, "package.json": packageJson({ packageManager }), [lock]: text };
    expect(await served(runner, "shop/v1", source)).toBe(greeting);
    expect(await runner.logs("shop/v1")).toMatch(/(?:--frozen-lockfile|--immutable)$/m);
  },
);

test.concurrent(
  "a package manager is brought once, for many at a time, also to a start command",
  async (context) => {
    const own = await startRegistry({ "pnpm@12.21.0": manager("pnpm", "12.21.0") });
    context.onTestFinished(() => own.close());
    const runner = await openRunner(context, { npm_config_registry: own.url });
    const source = { ...app, "pnpm-lock.yaml": "lockfileVersion: '9.0'\n" };
    await Promise.all(["v1", "v2", "v3", "v4"].map((id) => served(runner, `shop/${id}`, source)));
    const sha256 = await runner.upload(source);
    const start = "pnpm --version && exec node server.mjs";
    await runner.put("other/v1", { source: { sha256 }, start });
    expect((await runner.reaches("other/v1", "running", "failed")).reason).toBeNull();
    expect(own.asked.filter((path) => path.endsWith(".tgz"))).toEqual(["/pnpm@12.21.0.tgz"]);
  },
);

test.concurrent(
  "a source's own registry has no say in which package manager all others get",
  async (context) => {
    const runner = await openRunner(context);
    const evil = await startRegistry({ "pnpm@12.21.0": manager("pnpm", "6.6.6") });
    context.onTestFinished(() => evil.close());
    const source = {
      ...app,
      "pnpm-lock.yaml": "lockfileVersion: '9.0'\n",
      ".npmrc": `registry=${evil.url}\n`,
    };
    expect(await served(runner, "shop/v1", source)).toBe("pnpm 12.21.0");
    expect(evil.asked).toEqual([]);
  },
);

test.concurrent(
  "offline, a missing package manager is a failure that says which one and what to do",
  async (context) => {
    const runner = await openRunner(context, { npm_config_registry: "https://localhost:1" });
    const sha256 = await runner.upload({ ...app, "pnpm-lock.yaml": "lockfileVersion: '9.0'\n" });
    await runner.put("shop/v1", { source: { sha256 }, start: "node server.mjs" });
    const { reason, lastLines } = await runner.reaches("shop/v1", "failed", "running");
    expect(reason).toMatch(
      /^pnpm 12\.21\.0 isn't on this machine and can't be installed: The install exited with code 1\. Check the runner's way to the npm registry \(npm_config_registry, HTTPS_PROXY, NODE_EXTRA_CA_CERTS\), or install pnpm on the machine$/,
    );
    expect(lastLines.join("\n")).toMatch(/ECONNREFUSED|ECONNRESET/);
  },
);
