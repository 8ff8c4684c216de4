import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { writeChanged } from "./page-script.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const ADDRESS = "/_signalbox/assets/";

export interface DashboardAssets {
  /** Addresses of what the first load takes. */
  script: string;
  style: string;
  /** Contents by address. What the first load doesn't name is loaded by `import()`. */
  files: Record<string, string>;
}

/** Bundles the dashboard's client. A name carries its contents' hash; `import()` in the client makes a file of its own. */
export async function bundleDashboard(): Promise<DashboardAssets> {
  const { outputFiles, metafile } = await build({
    entryPoints: { main: join(root, "functions/dashboard/client/main.tsx") },
    absWorkingDir: root,
    outdir: root,
    tsconfig: join(root, "functions/dashboard/client/tsconfig.json"),
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    minify: true,
    metafile: true,
    write: false,
    publicPath: ADDRESS,
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    logLevel: "warning",
  });
  const files = Object.fromEntries(
    outputFiles.map(({ path, text }) => [ADDRESS + relative(root, path), text]),
  );
  const entry = Object.entries(metafile.outputs).find(([, output]) => output.cssBundle !== undefined);
  if (entry === undefined) throw new Error("The dashboard's entry imports no style.");
  return { script: ADDRESS + entry[0], style: ADDRESS + (entry[1].cssBundle ?? ""), files };
}

/** Makes the dashboard's client texts that the Worker's source imports. */
export async function writeDashboard(): Promise<void> {
  const { script, style, files } = await bundleDashboard();
  const texts = Object.entries(files).map(
    ([address, text]) => `  ${JSON.stringify(address)}:\n    ${JSON.stringify(text)},\n`,
  );
  await writeChanged(
    join(root, "functions/dashboard/assets.generated.ts"),
    `/** The dashboard's client, built from \`client/\`. */
export const SCRIPT = ${JSON.stringify(script)};
export const STYLE = ${JSON.stringify(style)};
export const ASSETS: Record<string, string | undefined> = {
${texts.join("")}};
`,
  );
}
