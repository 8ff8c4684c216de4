import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));
const HASH_LENGTH = 10;

/** Makes the page helper a text that the Worker's source imports. */
export async function writePageScript(): Promise<void> {
  const text = await bundleScript(join(root, "sdk/browser/page/edge.ts"));
  const hash = createHash("sha256").update(text).digest("hex").slice(0, HASH_LENGTH);
  await writeChanged(
    join(root, "functions/pages/page-script.generated.ts"),
    `/** The page helper as a classic script, built from \`sdk/browser/page/edge.ts\`. */
export const PAGE_SCRIPT: string =
  ${JSON.stringify(text)};
export const PAGE_SCRIPT_HASH = "${hash}";
`,
  );
}

/** A browser's script in one piece that leaves no name behind. */
export async function bundleScript(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    format: "iife",
    target: "es2022",
    minify: true,
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}

/** Whole or not at all, and not if it is the same: another process may be reading it, or building it too. */
export async function writeChanged(file: string, contents: string | Buffer): Promise<void> {
  const before = await readFile(file).catch(() => null);
  if (before?.equals(Buffer.from(contents)) === true) return;
  await mkdir(dirname(file), { recursive: true });
  const temporary = join(dirname(file), `.${process.pid}-${relative(dirname(file), file)}`);
  await writeFile(temporary, contents);
  await rename(temporary, file);
}
