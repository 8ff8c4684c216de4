import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { build, type Plugin } from "esbuild";
import { bundleScript, writeChanged } from "./page-script.ts";
import { projectRoot } from "./worker.ts";

const source = join(projectRoot, "sdk");
/** The modules that are published: each source file is one of its own, so that a door loads what it imports. */
const MODULES = [
  "index",
  "hono",
  "node",
  "session-store",
  "contract",
  "control-socket",
  "sessions",
  "settings",
  "client-script.generated",
  "browser/index",
];

/** Builds what `sdk/package.json` exports. Without `types`, which take most of the time, only what runs. */
export async function buildSdk({ types = true } = {}): Promise<string> {
  await writeClientScript();
  const output = join(source, "dist");
  await Promise.all([
    modules(output, "esm", ".js"),
    modules(output, "cjs", ".cjs"),
    types ? declarations(output) : undefined,
  ]);
  return output;
}

/** Makes the browser helper a text that the sdk's source imports, for a server has to send it. */
async function writeClientScript(): Promise<void> {
  const text = JSON.stringify(await bundleScript(join(source, "browser/client.ts")));
  await writeChanged(
    join(source, "client-script.generated.ts"),
    `/** The browser helper as a classic script, built from \`browser/client.ts\`. */\nexport const CLIENT_SCRIPT: string =\n  ${text};\n`,
  );
}

async function modules(output: string, format: "esm" | "cjs", extension: ".js" | ".cjs"): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: MODULES.map((name) => join(source, `${name}.ts`)),
    bundle: true,
    plugins: [apart(extension)],
    packages: "external",
    platform: "neutral",
    format,
    target: "es2022",
    outdir: output,
    outbase: source,
    outExtension: { ".js": extension },
    write: false,
    logLevel: "warning",
  });
  await Promise.all(outputFiles.map(({ path, contents }) => writeChanged(path, Buffer.from(contents))));
}

/** Keeps modules in files of their own: doors share one `contract`, and CommonJS can't split a bundle. */
function apart(extension: string): Plugin {
  return {
    name: "apart",
    setup(build) {
      build.onResolve({ filter: /^\.\.?\// }, ({ path, kind }) =>
        kind === "entry-point" ? null : { path: path.replace(/\.ts$/, extension), external: true },
      );
    },
  };
}

/** One declaration for each kind of module: TypeScript takes a `.d.ts` beside `"type": "module"` for an ES module's. */
async function declarations(output: string): Promise<void> {
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
  const temporary = await mkdtemp(join(tmpdir(), "signalbox-types-"));
  try {
    await promisify(execFile)(process.execPath, [tsc, "-p", source, "--outDir", temporary]);
    const files = (await readdir(temporary, { recursive: true })).filter((name) => name.endsWith(".d.ts"));
    for (const file of files) {
      const text = await readFile(join(temporary, file), "utf8");
      for (const extension of ["js", "cjs"]) {
        const target = join(output, file.replace(/ts$/, extension === "js" ? "ts" : "cts"));
        await writeChanged(target, text.replaceAll(/(from "\.{1,2}\/[^"]+)\.ts"/g, `$1.${extension}"`));
      }
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
