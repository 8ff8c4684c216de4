import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { NODE_FLAGS } from "../../scripts/build/node-flags.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { type InstalledPackages, installPackages } from "../helpers/installed-packages.ts";
import { type InstalledRuntime, installRuntime } from "../helpers/runtimes.ts";
import { RUNNER_SECRET, startTestStack, type TestStack, until } from "../helpers/stack.ts";

const run = promisify(execFile);
const RUNNER_RUNTIMES = ["node 22", "node 24", "node 26", "deno", "bun"] as const;
const RUNTIMES = ["node 20", ...RUNNER_RUNTIMES] as const;
type Runtime = (typeof RUNTIMES)[number];

let installed: InstalledPackages;
let programs: Record<Runtime, string>;

beforeAll(async () => {
  const install = async (name: InstalledRuntime): Promise<[Runtime, string]> => [
    name,
    await installRuntime(name),
  ];
  const [packages, ...entries] = await Promise.all([
    installPackages(),
    install("node 20"),
    install("node 22"),
    install("node 24"),
    install("deno"),
    install("bun"),
  ]);
  installed = packages;
  programs = { ...(Object.fromEntries(entries) as Record<Runtime, string>), "node 26": process.execPath };
}, 300_000);
afterAll(() => installed?.remove());

/** How each runtime runs a file. */
function command(runtime: Runtime, file: string): [string, ...string[]] {
  return runtime === "deno" ? [programs.deno, "run", "--allow-all", file] : [programs[runtime], file];
}

async function output(runtime: Runtime, file: string, ...args: string[]): Promise<string> {
  const [program, ...words] = command(runtime, file);
  return (await run(program, [...words, ...args], { cwd: installed.directory })).stdout;
}

describe("signalbox on npm", () => {
  test("holds what runs, packed in less than 2 MB, and depends on nothing", async () => {
    const { bytes, files } = installed.tarballs.signalbox;
    console.log(
      `signalbox ${(bytes / 1e3).toFixed(0)} kB, sdk ${(installed.tarballs.sdk.bytes / 1e3).toFixed(0)} kB`,
    );
    expect(bytes).toBeLessThan(2_000_000);
    expect(files.toSorted()).toEqual([
      "LICENSE",
      "README.md",
      "edge/package.json",
      "edge/worker.js",
      "edge/wrangler.toml",
      "package.json",
      "runner.mjs",
      "signalbox.mjs",
    ]);
    const manifest: unknown = JSON.parse(
      await readFile(join(installed.directory, "node_modules/signalbox/package.json"), "utf8"),
    );
    expect(manifest).not.toHaveProperty("dependencies");
    const sdk: unknown = JSON.parse(await readFile(join(projectRoot, "sdk/package.json"), "utf8"));
    for (const each of [manifest, sdk]) expect(each).toHaveProperty("engines.node", ">=20.12");
    expect(manifest).not.toHaveProperty("private");
  });

  test("isn't packed from the repository's root, which says where it is", async () => {
    const packed: unknown = await run("npm", ["pack", "--dry-run"], { cwd: projectRoot }).catch(
      (error: unknown) => error,
    );
    expect(packed).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("npm run build, then npm pack ./dist/packages/signalbox"),
    });
  });

  test("is there as npx signalbox", async () => {
    const { stdout } = await run("npx", ["signalbox", "--help"], { cwd: installed.directory });
    expect(stdout).toContain("Usage: signalbox COMMAND");
  });

  test.each(RUNTIMES)("the command line runs on %s", async (runtime) => {
    await mkdir(join(installed.directory, "app"), { recursive: true });
    await writeFile(join(installed.directory, "app/package.json"), '{"scripts":{"start":"node ."}}');
    expect(await output(runtime, installed.signalbox, "--version")).toMatch(/^signalbox \d+\.\d+\.\d+\n$/);
    expect(await output(runtime, installed.signalbox, "deploy", "app", "--dry-run")).toContain(
      "package.json",
    );
  });
});

describe("signalbox runner", () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startTestStack();
  });
  afterAll(() => stack?.stop());

  test.each(RUNNER_RUNTIMES)("connects and drains on %s", async (runtime) => {
    const id = runtime.replace(" ", "-");
    const workspace = join(installed.directory, `workspace-${id}`);
    const [program, ...words] = command(runtime, installed.signalbox);
    const child = spawn(program, [...words, "runner", "--healthPort", "0"], {
      cwd: installed.directory,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"],
        HOME: installed.directory,
        RUNNER_ID: id,
        RUNNER_SHARED_SECRET: RUNNER_SECRET,
        RUNNER_BROKER_URL: `ws://127.0.0.1:${stack.port}/_signalbox/socket`,
        WORKSPACE_ROOT: workspace,
        // Proved by other tests; here it would be most of what the runner does.
        RUNNER_CONFINEMENT: "none",
        NODE_ENV: "production",
      },
    });
    const exited = once(child, "exit");
    onTestFinished(async () => {
      child.kill("SIGKILL");
      await exited;
      await rm(workspace, { recursive: true, force: true });
    });
    const lines: string[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
    createInterface({ input: child.stderr }).on("line", (line) => lines.push(line));
    await until(
      async () => JSON.stringify((await stack.api("GET", `/runners/${id}`)).body),
      (runner) => runner.includes('"online"'),
    ).catch((error: unknown) => {
      throw new Error(lines.join("\n"), { cause: error });
    });
    if (runtime.startsWith("node")) {
      const processes = await runnerProcesses(child.pid ?? 0);
      expect(processes.at(-1)).toEqual(expect.arrayContaining(NODE_FLAGS));
      // One process, unless Node can't replace it.
      expect(processes).toHaveLength(runtime === "node 22" ? 2 : 1);
    }
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
    expect(lines.join("\n")).toMatch(/SIGTERM: shutting down[\s\S]*stopped/);
    expect(lines.join("\n")).not.toMatch(/execve/);
  });

  test.each([["runner"], ["runner", "--help"]])(
    "says on Node 20 which Node it needs: %j",
    async (...args) => {
      const failed: unknown = await output("node 20", installed.signalbox, ...args).catch(
        (error: unknown) => error,
      );
      expect(failed).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(
          /^signalbox: the runner needs Node 22\.13 or later; this is v20\.12\.0\. .*\n$/,
        ),
      });
    },
  );

  test("has a help that calls it by the name it was started by", async () => {
    expect(await output("node 22", installed.signalbox, "runner", "--help")).toMatch(
      /^Usage: signalbox runner \[FLAGS\]/,
    );
  });

  test.each(["node 22", "node 26"] as const)(
    "says on %s what its settings lack, and fails",
    async (runtime) => {
      const failed: unknown = await output(runtime, installed.signalbox, "runner").catch(
        (error: unknown) => error,
      );
      expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining("RUNNER_SHARED_SECRET") });
    },
  );
});

/** The command lines of a process and its only child, if it has one. */
async function runnerProcesses(pid: number): Promise<string[][]> {
  const words = (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0");
  const [child] = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).split(" ").filter(Boolean);
  return [words, ...(child === undefined ? [] : await runnerProcesses(Number(child)))];
}

describe("@signalbox/sdk on npm", () => {
  test("loads no peer but in the door that needs it", async () => {
    const load = (door: string): Promise<unknown> =>
      run(process.execPath, ["-e", `require("@signalbox/sdk${door}"); import("@signalbox/sdk${door}")`], {
        cwd: installed.directory,
      });
    // Hono itself comes from the app, which has it.
    for (const door of ["", "/node", "/browser", "/hono"]) await load(door);
    await expect(load("/session-store")).rejects.toThrow("@upstash/redis");
  });

  describe("with its peers", () => {
    beforeAll(() => installed.add("hono", "@upstash/redis", "@types/node"), 120_000);

    const cases = RUNTIMES.flatMap((runtime) => [
      { runtime, module: "an ES module", file: "doors.mjs" },
      { runtime, module: "CommonJS", file: "doors.cjs" },
    ]);
    test.each(cases)("has every door for $module on $runtime", async ({ runtime, file }) => {
      const seen: unknown = JSON.parse(await output(runtime, join(installed.directory, file)));
      const meta = { status: "ok", deployment_id: "v1", server_address: null };
      expect(seen).toEqual({
        browser: true,
        web: meta,
        script: expect.any(Number),
        hono: meta,
        app: "the app's",
        node: meta,
        nodeApp: "the app's",
        socket: "welcome",
        store: "SessionStoreUnavailable",
      });
      expect(seen).toHaveProperty(
        "script",
        expect.toSatisfy((length: number) => length > 2_000),
      );
    });

    test.each([
      { resolution: "node16", module: "node16", files: ["types.mts", "types.cts"] },
      { resolution: "bundler", module: "esnext", files: ["types.mts"] },
    ])("is typed for moduleResolution $resolution", async ({ resolution, module, files }) => {
      const project = join(installed.directory, `tsconfig.${resolution}.json`);
      const compilerOptions = {
        target: "es2022",
        lib: ["es2023", "dom"],
        module,
        moduleResolution: resolution,
        strict: true,
        noEmit: true,
        types: ["node"],
      };
      await writeFile(project, JSON.stringify({ compilerOptions, files }));
      // The same file, which TypeScript makes a CommonJS module of.
      await copyFile(join(installed.directory, "types.mts"), join(installed.directory, "types.cts"));
      const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
      const result = await run(process.execPath, [tsc, "-p", project]).catch((error: unknown) => error);
      expect(result).toMatchObject({ stdout: "" });
    });
  });
});
