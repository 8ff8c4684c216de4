import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { command } from "../command.ts";
import { Failure } from "../failure.ts";
import type { CommandContext } from "../context.ts";
import { addMissingBlocks, otherCompatibility } from "../wrangler-config.ts";

/** What such a directory's package.json is known by: the version of its Worker. */
const manifestSchema = z.looseObject({
  signalbox: z.string(),
  devDependencies: z.record(z.string(), z.string()).default({}),
});
type Manifest = z.infer<typeof manifestSchema>;

export const initWorker = command({
  name: "init-worker",
  summary: "writes the Worker and its wrangler.toml into a directory, to deploy the edge without a clone",
  notes:
    "The directory must be new or empty, or one that init-worker has made: there it brings the Worker and wrangler up to\n" +
    "this version of signalbox, and leaves what you wrote into wrangler.toml.",
  arguments: [{ name: "DIRECTORY", summary: "where to" }],
  flags: {},
  async run(context, { arguments: [given = "."] }) {
    const directory = resolve(context.cwd, given);
    const template = fileURLToPath(new URL("./edge", import.meta.url));
    const fresh = await readManifest(template);
    if (fresh === null) {
      throw new Failure(
        "failed",
        "no_worker",
        `The built Worker isn't in ${template}. In a clone, run npm run build; else install signalbox again.`,
      );
    }
    const before = await readManifest(directory);
    if (before === null) await refuseForeign(directory, given);
    await mkdir(directory, { recursive: true });
    const added = before === null ? [] : await updateConfig(context, template, directory);
    if (before === null) await copyFile(join(template, "wrangler.toml"), join(directory, "wrangler.toml"));
    await copyFile(join(template, "worker.js"), join(directory, "worker.js"));
    const manifest = { ...fresh, ...before, signalbox: fresh.signalbox };
    manifest.devDependencies = { ...before?.devDependencies, ...fresh.devDependencies };
    await writeFile(join(directory, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);

    const steps = stepsFor(relative(context.cwd, directory), before === null);
    context.output.result(
      { directory, release: fresh.signalbox, before: before?.signalbox ?? null, added, next: steps },
      () =>
        [
          before === null
            ? `Signalbox's Worker ${fresh.signalbox} is in ${directory}.`
            : `Signalbox's Worker in ${directory} is now ${fresh.signalbox} (it was ${before.signalbox}).`,
          ...added.map((block) => `wrangler.toml got ${block}.`),
          "Next:",
          ...steps.map((step) => `  ${step}`),
        ].join("\n"),
    );
  },
});

async function readManifest(directory: string): Promise<Manifest | null> {
  const text = await readFile(join(directory, "package.json"), "utf8").catch(() => null);
  if (text === null) return null;
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch {
    // Somebody else's package.json, whatever is wrong with it.
    return null;
  }
}

async function refuseForeign(directory: string, given: string): Promise<void> {
  const entries = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw new Failure("usage", "not_a_directory", `${given} can't be written to: ${error.message}.`);
  });
  const foreign = entries.find((name) => name !== ".git");
  if (foreign === undefined) return;
  throw new Failure(
    "usage",
    "not_empty",
    `${given} has other things in it, such as ${foreign}. Name a new or empty directory.`,
  );
}

async function updateConfig(context: CommandContext, template: string, directory: string): Promise<string[]> {
  const file = join(directory, "wrangler.toml");
  if (!existsSync(file)) {
    await copyFile(join(template, "wrangler.toml"), file);
    return [];
  }
  const ours = await readFile(join(template, "wrangler.toml"), "utf8");
  const theirs = await readFile(file, "utf8");
  const { text, added } = addMissingBlocks(theirs, ours);
  for (const line of otherCompatibility(theirs, ours)) {
    context.output.remark(`wrangler.toml differs from what this Worker is tested with: ${line}`);
  }
  if (added.length > 0) await writeFile(file, text);
  return added;
}

function stepsFor(directory: string, first: boolean): string[] {
  const install = [...(directory === "" ? [] : [`cd ${directory}`]), "npm install"];
  if (!first) return [...install, "npx wrangler deploy"];
  return [
    ...install,
    "npx wrangler deploy",
    "npx wrangler secret put CONTROL_TOKEN                 # who may deploy; make one: openssl rand -hex 32",
    "npx wrangler secret put PULSE_RAILWAY_INTERNAL_TOKEN  # what backends know Signalbox by",
    "npx wrangler secret put RUNNER_SHARED_SECRET          # what runners connect with",
    "npx signalbox login --server https://signalbox.YOUR-SUBDOMAIN.workers.dev",
  ];
}
