import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildWorker, projectRoot } from "./worker.ts";

/** Builds what `signalbox init-worker` writes: the Worker, its wrangler.toml, and a package.json that pins wrangler. */
export async function buildEdge(directory = join(projectRoot, "dist/edge")): Promise<string> {
  await mkdir(directory, { recursive: true });
  await buildWorker(directory);
  const manifest = JSON.parse(await readFile(join(projectRoot, "package.json"), "utf8")) as {
    version: string;
    devDependencies: { wrangler: string };
  };
  await writeFile(
    join(directory, "package.json"),
    `${JSON.stringify(
      {
        name: "signalbox-worker",
        private: true,
        // By this an init-worker knows its own directories, and what is in them.
        signalbox: manifest.version,
        scripts: { deploy: "wrangler deploy", dev: "wrangler dev" },
        devDependencies: { wrangler: manifest.devDependencies.wrangler },
      },
      null,
      2,
    )}\n`,
  );
  await writeFile(
    join(directory, "wrangler.toml"),
    edgeConfig(await readFile(join(projectRoot, "wrangler.toml"), "utf8")),
  );
  return directory;
}

const SOURCE_LINE = 'main = "functions/index.ts"';

/** The repository's wrangler.toml for a Worker that is built already. */
function edgeConfig(text: string): string {
  if (!text.includes(SOURCE_LINE)) throw new Error(`wrangler.toml must have the line ${SOURCE_LINE}.`);
  const config = text.replace(SOURCE_LINE, 'main = "worker.js"\nno_bundle = true');
  return `# Yours to edit. Another \`signalbox init-worker\` adds bindings and migrations that a newer Worker needs, nothing else.
${config}`;
}
