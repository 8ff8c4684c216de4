import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Newcomer } from "../helpers/newcomer.ts";

/** `signalbox deploy` with nothing else, of what takes long to install: npm run soak. */

const soak = process.env["SIGNALBOX_SOAK"] === "1";
const run = promisify(execFile);

/** Whether this succeeds here. */
function works(command: string, ...given: string[]): Promise<boolean> {
  return run(command, given).then(
    () => true,
    () => false,
  );
}

describe.skipIf(!soak)("deploy without a flag or a file", () => {
  let newcomer: Newcomer;
  beforeAll(async () => {
    newcomer = await Newcomer.arrive();
  });
  afterAll(() => newcomer?.leave());

  describe("Python", () => {
    let hasVenv = false;
    beforeAll(async () => {
      hasVenv = await works("python3", "-c", "import venv, ensurepip");
    });

    test.for<[what: string, files: Record<string, string>]>([
      ["in one file", { "app.py": FLASK }],
      ["as a package that makes its application", { "shop/__init__.py": FLASK_FACTORY }],
    ])("Flask %s, with requirements.txt", async ([what, files], { skip }) => {
      if (!hasVenv) skip("python3 with venv isn't on this machine");
      const name = what.includes("package") ? "flask-factory" : "flask-app";
      const directory = await newcomer.write(name, { "requirements.txt": "flask\n", ...files });
      const { decisions, get } = await newcomer.deploy(directory);
      expect(decisions["install"]).toContain("-r requirements.txt gunicorn");
      expect(await (await get("/hello?name=you")).text()).toBe("hello you");
    });

    test("Flask with pyproject.toml", async ({ skip }) => {
      if (!hasVenv) skip("python3 with venv isn't on this machine");
      const directory = await newcomer.write("flask-project", {
        "pyproject.toml": PROJECT,
        "app.py": FLASK,
      });
      const { get } = await newcomer.deploy(directory);
      expect(await (await get("/hello?name=you")).text()).toBe("hello you");
    });

    test("Django, as startproject makes it", async ({ skip }) => {
      if (!hasVenv) skip("python3 with venv isn't on this machine");
      const made = await mkdtemp(join(tmpdir(), "signalbox-django-"));
      try {
        await run("python3", ["-m", "venv", made]);
        await run(join(made, "bin/python"), ["-m", "pip", "install", "-q", "django"]);
        const directory = await newcomer.write("django-app", { "requirements.txt": "django\n" });
        await run(join(made, "bin/django-admin"), ["startproject", "shop", directory]);
        const { decisions, get } = await newcomer.deploy(directory);
        expect(decisions["start"]).toContain("gunicorn");
        expect(await (await get("/")).text()).toContain("The install worked successfully!");
      } finally {
        await rm(made, { recursive: true, force: true });
      }
    });

    test("uv.lock", async ({ skip }) => {
      if (!hasVenv) skip("python3 with venv isn't on this machine");
      const tool = await mkdtemp(join(tmpdir(), "signalbox-uv-"));
      try {
        await run("python3", ["-m", "venv", tool]);
        if (!(await works(join(tool, "bin/python"), "-m", "pip", "install", "-q", "uv"))) {
          skip("uv is in no registry that this machine reaches");
        }
        const directory = await newcomer.write("uv-app", { "pyproject.toml": PROJECT, "app.py": FLASK });
        await run(join(tool, "bin/uv"), ["lock"], { cwd: directory });
        const { decisions, get } = await newcomer.deploy(directory);
        expect(decisions["install"]).toContain("uv sync");
        expect(await (await get("/hello?name=you")).text()).toBe("hello you");
      } finally {
        await rm(tool, { recursive: true, force: true });
      }
    });
  });

  test("a member of a Bun workspace, with what it needs of it", async () => {
    const directory = await newcomer.write("bun-workspace", {
      ".git/HEAD": "",
      "package.json": JSON.stringify({
        private: true,
        packageManager: "bun@1.3.0",
        workspaces: ["packages/*"],
      }),
      "packages/greeting/package.json": JSON.stringify({
        name: "greeting",
        version: "1.0.0",
        main: "made.ts",
        scripts: { build: "cp index.ts made.ts" },
      }),
      "packages/greeting/index.ts": 'export const greeting: string = "by bun";',
      "packages/web/package.json": JSON.stringify({
        name: "bun-web",
        dependencies: { greeting: "workspace:*" },
      }),
      "packages/web/index.ts":
        'import { greeting } from "greeting"; Bun.serve({ fetch: (): Response => new Response(greeting) });',
    });
    const { decisions, get } = await newcomer.deploy(join(directory, "packages/web"));
    expect(decisions).toMatchObject({ root: directory, start: "bun index.ts" });
    expect(await (await get("/")).text()).toBe("by bun");
  });
});

const ROUTE = `@app.get("/hello")
    def hello():
        return "hello " + request.args["name"]
`;
const FLASK = `from flask import Flask, request
app = Flask(__name__)

${ROUTE.replaceAll("\n    ", "\n")}`;
const FLASK_FACTORY = `from flask import Flask, request

def create_app(test_config=None):
    app = Flask(__name__)
    ${ROUTE}    return app
`;
const PROJECT = `[project]
name = "shop"
version = "1.0.0"
requires-python = ">=3.9"
dependencies = ["flask"]

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
py-modules = ["app"]
`;
