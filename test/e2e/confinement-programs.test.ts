import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { installRuntime } from "../helpers/runtimes.ts";
import { server, UnconnectedRunner, until } from "../helpers/unconnected-runner.ts";

/** Programs that need much of a system, in what `auto` gives on this host. */

const soak = process.env["SIGNALBOX_SOAK"] === "1";
const LIMIT_MS = 400_000;

describe.skipIf(!soak)("in what auto gives (soak: npm run soak)", () => {
  let root: string;
  let runner: UnconnectedRunner;
  let deno: string;
  let node24: string;

  beforeAll(async () => {
    [deno, node24] = await Promise.all([installRuntime("deno"), installRuntime("node 24")]);
    root = await mkdtemp(join(tmpdir(), "signalbox-programs-"));
    await chmod(root, 0o711);
    const paths = [dirname(deno), dirname(node24)];
    runner = await UnconnectedRunner.start({ root, confinement: { paths } });
  }, LIMIT_MS);

  afterAll(async () => {
    await runner?.stop();
    await rm(root, { recursive: true, force: true });
  });

  interface App {
    files: Record<string, string>;
    start: string;
    install?: string;
    build?: string;
  }

  /** Answers the origin of a running app, whose install and build have succeeded. */
  async function deploy(name: string, { files, ...commands }: App): Promise<string> {
    const sha256 = await runner.upload(files);
    await runner.put(`programs/${name}`, { source: { sha256 }, ...commands });
    const { port, reason, confinement } = await until(
      `${name} is there`,
      async () => {
        const status = await runner.status(`programs/${name}`);
        return ["running", "failed"].includes(status.state) ? status : null;
      },
      LIMIT_MS,
    );
    if (reason !== null) throw new Error(`${reason}\n${await runner.logs(`programs/${name}`)}`);
    console.log(`${name}: ${confinement?.level}, ${confinement?.network} network`);
    return `http://127.0.0.1:${port}`;
  }

  const json = (content: unknown): string => JSON.stringify(content);
  const ask = async (url: string): Promise<string> => (await fetch(url)).text();

  test("Chromium draws a page", { timeout: LIMIT_MS }, async () => {
    const origin = await deploy("chromium", {
      files: {
        "page.html": "<p id=p></p><script>p.textContent = 6 * 7</script>",
        "server.mjs": `import { execFileSync } from "node:child_process";
${server('response.end(execFileSync("chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "file://" + process.cwd() + "/page.html"]))')}`,
      },
      start: "node server.mjs",
    });
    expect(await ask(origin)).toContain('<p id="p">42</p>');
  });

  test(
    "Python makes an environment, pip installs into it, and it serves",
    { timeout: LIMIT_MS },
    async () => {
      const origin = await deploy("python", {
        files: {
          "wheel.py": `import zipfile
with zipfile.ZipFile("greet-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("greet.py", "")
    wheel.writestr("greet-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: greet\\nVersion: 1\\n")
    wheel.writestr("greet-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("greet-1.dist-info/RECORD", "")
`,
          "app.py": `import os, greet
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(greet.__name__.encode())
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
`,
        },
        install:
          "/usr/bin/python3 -m venv .venv && .venv/bin/python wheel.py && .venv/bin/pip install --no-index ./greet-1-py3-none-any.whl",
        start: ".venv/bin/python app.py",
      });
      expect(await ask(origin)).toBe("greet");
    },
  );

  test("npm installs native packages, and they run", { timeout: LIMIT_MS }, async () => {
    const origin = await deploy("native", {
      files: {
        "package.json": json({ dependencies: { esbuild: "^0.25.0", sharp: "^0.34.0" } }),
        "server.mjs": `import { transformSync } from "esbuild";
import sharp from "sharp";
${server('sharp({ create: { width: 9, height: 9, channels: 3, background: "red" } }).png().toBuffer().then((png) => response.end(transformSync("let a: number = 1", { loader: "ts" }).code + png.length))')}`,
      },
      start: "node server.mjs",
    });
    expect(await ask(origin)).toMatch(/^let a = 1;\s+\d+$/);
  });

  test("Deno serves", { timeout: LIMIT_MS }, async () => {
    const origin = await deploy("deno", {
      files: {
        "main.ts":
          'Deno.serve({ hostname: Deno.env.get("HOST"), port: Number(Deno.env.get("PORT")) }, () => new Response(Deno.version.deno));',
      },
      start: `${deno} run --allow-all main.ts`,
    });
    expect(await ask(origin)).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test("Node 24 serves", { timeout: LIMIT_MS }, async () => {
    const origin = await deploy("node24", {
      files: { "server.mjs": server("response.end(process.version)") },
      start: `${node24} server.mjs`,
    });
    expect(await ask(origin)).toMatch(/^v24\./);
  });

  test("Vite's dev server reloads what is edited", { timeout: LIMIT_MS }, async () => {
    const origin = await deploy("vite", {
      files: {
        "package.json": json({ type: "module", devDependencies: { vite: "^7.0.0" } }),
        "index.html": '<script type="module" src="/main.js"></script>',
        "main.js": "import.meta.hot?.accept(); console.log(1);",
      },
      start: "npx vite --port $PORT --host $HOST --strictPort",
    });
    const [, token = ""] = /const wsToken = "([^"]+)"/.exec(await ask(`${origin}/@vite/client`)) ?? [];
    await ask(`${origin}/main.js`);
    const told: string[] = [];
    const socket = new WebSocket(`${origin.replace("http", "ws")}/?token=${token}`, "vite-hmr");
    socket.on("message", (data: Buffer) => told.push(data.toString()));
    await until("Vite speaks", () => told.some((line) => line.includes("connected")));
    const file = join(root, ".signalbox/deployments/programs/vite/work/main.js");
    await writeFile(file, (await readFile(file, "utf8")).replace("1", "2"));
    await until("Vite tells of the edit", () =>
      told.some((line) => line.includes("/main.js") && line.includes("update")),
    );
    socket.close();
  });

  test("Next builds and serves, and so does its dev server", { timeout: 2 * LIMIT_MS }, async () => {
    const files = {
      "package.json": json({ dependencies: { next: "^16.0.0", react: "^19.0.0", "react-dom": "^19.0.0" } }),
      "app/layout.js": "export default ({ children }) => <html><body>{children}</body></html>;",
      "app/page.js": "export default () => <p>{6 * 7}</p>;",
    };
    const built = { files, build: "npx next build", start: "npx next start -p $PORT -H $HOST" };
    expect(await ask(await deploy("next", built))).toContain("<p>42</p>");
    const dev = { files, start: "npx next dev -p $PORT -H $HOST" };
    expect(await ask(await deploy("next-dev", dev))).toContain("<p>42</p>");
  });
});
