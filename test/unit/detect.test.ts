import { posix } from "node:path";
import { describe, expect, test } from "vitest";
import { detect } from "../../scripts/cli/detect/detect.ts";
import { packageManagerOf } from "../../scripts/cli/detect/package-manager.ts";
import type { ProjectFiles } from "../../scripts/cli/detect/project-files.ts";
import { notForVisitors } from "../../scripts/cli/detect/start-script.ts";
import { isMember, membersOf, neededMembers, workspacePatterns } from "../../scripts/cli/detect/workspace.ts";

type Tree = Record<string, string | object>;

/** A directory that is only here: each path with its text, or what its JSON holds. */
function tree(files: Tree): ProjectFiles {
  const texts = new Map(
    Object.entries(files).map(([path, file]) => [
      path,
      typeof file === "string" ? file : JSON.stringify(file),
    ]),
  );
  const paths = [...texts.keys()];
  const below = (path: string): string => (posix.normalize(path) === "." ? "" : `${posix.normalize(path)}/`);
  return {
    read: (path) => texts.get(posix.normalize(path)) ?? null,
    has: (path) => texts.has(posix.normalize(path)) || paths.some((file) => file.startsWith(below(path))),
    list: (path) => [
      ...new Set(
        paths
          .filter((file) => file.startsWith(below(path)))
          .map((file) => file.slice(below(path).length).split("/")[0] ?? ""),
      ),
    ],
  };
}

const app = (dependencies: string[], scripts: Record<string, string> = {}): object => ({
  scripts,
  dependencies: Object.fromEntries(dependencies.map((name) => [name, "1.0.0"])),
});
const build = { build: "make it" };

describe("how it is started", () => {
  test.each<[name: string, files: Tree, start: string]>([
    ["a start script", { "package.json": app([], { start: "node x" }) }, "npm start"],
    [
      "a start script, with pnpm",
      { "package.json": app([], { start: "node x" }), "pnpm-lock.yaml": "" },
      "pnpm start",
    ],
    [
      "a start script, with bun",
      { "package.json": app([], { start: "bun x" }), "bun.lock": "" },
      "bun run start",
    ],
    [
      "a Procfile before a start script",
      { "package.json": app([], { start: "x" }), Procfile: "web: node y" },
      "node y",
    ],
    ["Next", { "package.json": app(["next"], build) }, 'next start -H "$HOST"'],
    [
      "Next with yarn",
      { "package.json": app(["next"], build), "yarn.lock": "" },
      'yarn run next start -H "$HOST"',
    ],
    [
      "Next as files",
      {
        "package.json": app(["next"], { ...build, start: "next dev" }),
        "next.config.ts": 'export default { output: "export" }',
      },
      "signalbox-runner static out --immutable _next/static",
    ],
    ["Nuxt", { "package.json": app(["nuxt"], build) }, "node .output/server/index.mjs"],
    [
      "Nuxt as files",
      { "package.json": app(["nuxt"], { build: "nuxt generate" }) },
      "signalbox-runner static .output/public --immutable _nuxt",
    ],
    [
      "SvelteKit",
      { "package.json": app(["@sveltejs/kit", "@sveltejs/adapter-node", "vite"], build) },
      "node build/index.js",
    ],
    [
      "SvelteKit as files, with a page for all",
      {
        "package.json": app(["@sveltejs/kit", "@sveltejs/adapter-static"], build),
        "svelte.config.js": "adapter({ fallback: 'index.html' })",
      },
      "signalbox-runner static build --spa --immutable _app/immutable",
    ],
    [
      "Astro",
      {
        "package.json": app(["astro", "@astrojs/node"], build),
        "astro.config.mjs": 'node({ mode: "standalone" })',
      },
      "node dist/server/entry.mjs",
    ],
    [
      "Astro as files",
      { "package.json": app(["astro"], { start: "astro dev" }) },
      "signalbox-runner static dist --immutable _astro",
    ],
    [
      "React Router",
      { "package.json": app(["@react-router/dev", "@react-router/serve", "vite"], build) },
      "react-router-serve ./build/server/index.js",
    ],
    [
      "React Router without a server",
      {
        "package.json": app(["@react-router/dev"], build),
        "react-router.config.ts": "export default { ssr: false }",
      },
      "signalbox-runner static build/client --spa --immutable assets",
    ],
    ["Remix", { "package.json": app(["@remix-run/serve"], build) }, "remix-serve ./build/server/index.js"],
    [
      "TanStack Start",
      { "package.json": app(["@tanstack/react-start", "nitro", "vite"], build) },
      "node .output/server/index.mjs",
    ],
    [
      "Vite",
      { "package.json": app(["vite"], { ...build, start: "vite preview --host" }), "index.html": "" },
      "signalbox-runner static dist --spa --immutable assets",
    ],
    [
      "Vite elsewhere",
      { "package.json": app(["vite"], build), "vite.config.ts": "build: { outDir: 'www' }, appType: 'mpa'" },
      "signalbox-runner static www --immutable assets",
    ],
    [
      "a Vite app with a server of its own",
      { "package.json": app(["vite", "express"], { ...build, start: "node server.js" }) },
      "npm start",
    ],
    [
      "Create React App",
      { "package.json": app(["react-scripts"], { ...build, start: "react-scripts start" }) },
      "signalbox-runner static build --spa",
    ],
    [
      "Gatsby",
      { "package.json": app(["gatsby"], { start: "gatsby develop" }) },
      "signalbox-runner static public",
    ],
    ["Eleventy", { "package.json": app(["@11ty/eleventy"]) }, "signalbox-runner static _site"],
    [
      "Angular",
      {
        "package.json": app(["@angular/core"], { start: "ng serve" }),
        "angular.json": '{"projects":{"shop":{}}}',
      },
      "signalbox-runner static dist/shop/browser dist/shop --spa",
    ],
    [
      "a build of an unknown kind",
      { "package.json": app([], build) },
      "signalbox-runner static dist build out _site .output/public public",
    ],
    [
      "a server's file beside a package.json",
      { "package.json": app([]), "src/server.ts": "app.listen(1)" },
      "node src/server.ts",
    ],
    ["a server's file alone", { "index.mjs": "createServer()" }, "node index.mjs"],
    ["Bun", { "package.json": {}, "index.ts": "Bun.serve({})" }, "bun index.ts"],
    [
      "an exported handler for Bun",
      { "package.json": {}, "bun.lock": "", "index.ts": "export default { fetch() {} }" },
      "bun index.ts",
    ],
    [
      "Deno's start task",
      { "deno.jsonc": '{\n  // comment\n  "tasks": { "start": "x", },\n}' },
      'DENO_SERVE_ADDRESS="tcp:$HOST:$PORT" deno task start',
    ],
    [
      "Deno.serve",
      { "main.ts": "Deno.serve(x)" },
      'DENO_SERVE_ADDRESS="tcp:$HOST:$PORT" deno run --allow-all main.ts',
    ],
    ["files", { "index.html": "" }, "signalbox-runner static ."],
    ["files below", { "public/index.html": "" }, "signalbox-runner static public"],
    [
      "FastAPI",
      { "requirements.txt": "fastapi\nuvicorn", "app/main.py": "import fastapi\napi = fastapi.FastAPI()" },
      'PATH="$PWD/.venv/bin:$PATH"; export PATH; uvicorn app.main:api --host "$HOST" --port "$PORT" --proxy-headers',
    ],
    [
      "Flask",
      { "pyproject.toml": "", "app.py": "app = Flask(__name__)" },
      'PATH="$PWD/.venv/bin:$PATH"; export PATH; gunicorn --bind "$HOST:$PORT" app:app',
    ],
    [
      "Flask made by a function",
      {
        "requirements.txt": "flask",
        "shop/__init__.py": "def create_app(config=None):\n    app = Flask(__name__)",
      },
      'PATH="$PWD/.venv/bin:$PATH"; export PATH; gunicorn --bind "$HOST:$PORT" "shop:create_app()"',
    ],
    [
      "Django",
      { "requirements.txt": "django", "manage.py": "", "shop/wsgi.py": "" },
      'PATH="$PWD/.venv/bin:$PATH"; export PATH; gunicorn --bind "$HOST:$PORT" shop.wsgi',
    ],
    [
      "a Procfile of Python",
      { "uv.lock": "", Procfile: "web: python -m shop" },
      'PATH="$PWD/.venv/bin:$PATH"; export PATH; python -m shop',
    ],
    ["a Procfile alone", { Procfile: "release: x\nweb:  bin/serve -p $PORT \n" }, "bin/serve -p $PORT"],
  ])("%s", (_name, files, start) => {
    expect(detect(tree(files), "").start?.command).toBe(start);
  });

  test.each<[name: string, files: Tree, why: string]>([
    ["an empty package.json", { "package.json": {} }, "no start script"],
    [
      "a start script for development alone",
      { "package.json": app([], { start: "webpack serve" }) },
      "webpack serve",
    ],
    [
      "SvelteKit without an adapter that serves",
      { "package.json": app(["@sveltejs/kit"], build) },
      "adapter-node",
    ],
    [
      "Astro as middleware",
      { "package.json": app(["astro", "@astrojs/node"]), "astro.config.mjs": "mode: 'middleware'" },
      "standalone",
    ],
    ["TanStack Start alone", { "package.json": app(["@tanstack/react-start"], build) }, "nitro"],
    ["Python without an application", { "requirements.txt": "numpy" }, "Procfile"],
    ["nothing", { "README.md": "" }, "no index.html"],
  ])("%s isn't", (_name, files, why) => {
    const { start, missing } = detect(tree(files), "");
    expect([start, missing]).toEqual([null, expect.stringContaining(why)]);
  });

  test("Next's standalone server goes before `next start`, with what Next leaves out", () => {
    const files = {
      "package.json": app(["next"], { ...build, start: "next start" }),
      "next.config.js": "output: 'standalone'",
    };
    const { build: made, start } = detect(tree(files), "");
    expect(start?.command).toContain("exec node");
    expect(start?.why).toContain("doesn't serve");
    expect(made?.command).toMatch(/^npm run build && .*cp -R \.next\/static/);
  });
});

describe("how it is built and installed", () => {
  test.each<[files: Tree, install: string | undefined, build: string | undefined]>([
    [{ "package.json": app([], { ...build, start: "x" }) }, undefined, "npm run build"],
    [{ "package.json": app(["vite"]), "yarn.lock": "" }, undefined, "yarn run vite build"],
    [{ "package.json": app([], { start: "x" }) }, undefined, undefined],
    [{ "deno.json": { tasks: { build: "x", start: "y" } } }, undefined, "deno task build"],
    [
      { "requirements.txt": "flask", "app.py": "app = Flask(__name__)" },
      "python3 -m venv .venv && .venv/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt gunicorn",
      undefined,
    ],
  ])("%j", (files, install, made) => {
    const found = detect(tree(files), "");
    expect([found.install?.command, found.build?.command]).toEqual([install, made]);
  });
});

test.each([
  ["SvelteKit", app(["@sveltejs/kit", "@sveltejs/adapter-node"]), "PROTOCOL_HEADER"],
  ["any app of Node", app([]), "NODE_ENV"],
])("%s gets the variables it needs", (_name, manifest, variable) => {
  expect(detect(tree({ "package.json": manifest }), "").env).toHaveProperty(variable);
});

test.each<[files: Tree, name: string]>([
  [{}, "npm"],
  [{ "package-lock.json": "" }, "npm"],
  [{ "pnpm-lock.yaml": "", "package-lock.json": "" }, "pnpm"],
  [{ "yarn.lock": "" }, "yarn"],
  [{ "bun.lockb": "" }, "bun"],
  [{ "package.json": { packageManager: "pnpm@10.1.0+sha512.a" }, "yarn.lock": "" }, "pnpm"],
])("the package manager of %j is %s", (files, name) => {
  expect(packageManagerOf(tree(files)).name).toBe(name);
});

test.each([
  ["vite", true],
  ["vite --port 3000", true],
  ["NODE_ENV=production vite preview", true],
  ["npx vite dev", true],
  ["next dev --turbo", true],
  ["astro preview", true],
  ["react-scripts start", true],
  ["ng serve", true],
  ["next start", false],
  ["node server.js", false],
  ["vite build && node server.js", false],
  ["node dev-server.js", false],
  ["react-router-serve ./build/server/index.js", false],
])("whether %j is for development: %s", (script, expected) => {
  expect(notForVisitors(script) !== null).toBe(expected);
});

describe("a workspace", () => {
  const npm = tree({
    "package.json": { workspaces: ["packages/*", "apps/**", "!apps/old"] },
    "packages/ui/package.json": { name: "ui", ...app(["tokens"], build) },
    "packages/tokens/package.json": { name: "tokens", ...app([], build) },
    "packages/types/package.json": { name: "types" },
    "apps/web/package.json": { name: "web", ...app(["ui", "types", "next"], build) },
    "apps/old/package.json": { name: "old", ...app([], { start: "x" }) },
  });

  test.each([
    [["packages/*"], "packages/a", true],
    [["packages/*"], "packages/a/b", false],
    [["./packages/**"], "packages/a/b", true],
    [["packages/{a,b}"], "packages/b", true],
    [["packages/*", "!packages/b"], "packages/b", false],
    [["a.b"], "aXb", false],
    [["packages/a/"], "packages/a", true],
  ])("%j: whether %s is a member: %s", (patterns, path, expected) => {
    expect(isMember(patterns, path)).toBe(expected);
  });

  test.each([
    [
      "packages:\n  - 'packages/*'\n  # one more\n  - apps/web # here\ncatalog:\n  - no\n",
      ["packages/*", "apps/web"],
    ],
    ['packages: ["a", "b/*"]\n', ["a", "b/*"]],
    ["packages:\n- a\n\n- b\n", ["a", "b"]],
    ["catalog:\n  react: 1\n", null],
  ])("pnpm-workspace.yaml %j", (text, patterns) => {
    expect(workspacePatterns(tree({ "pnpm-workspace.yaml": text }))).toEqual(patterns);
  });

  test("builds what a member needs first, each after its own needs", () => {
    const members = membersOf(npm);
    expect(members.map(({ path }) => path).toSorted()).toEqual([
      "apps/web",
      "packages/tokens",
      "packages/types",
      "packages/ui",
    ]);
    expect(neededMembers(members, "apps/web").map(({ path }) => path)).toEqual([
      "packages/tokens",
      "packages/ui",
      "packages/types",
    ]);
    expect(detect(npm, "apps/web")).toMatchObject({
      build: {
        command:
          "(cd ../../packages/tokens && npm run build) && (cd ../../packages/ui && npm run build) && npm run build",
      },
      start: { command: 'npm exec -- next start -H "$HOST"' },
    });
  });

  test("its root asks for one of the members that can be served", () => {
    expect(detect(npm, "")).toMatchObject({ start: null, members: ["apps/web"] });
  });
});
