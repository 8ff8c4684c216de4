import { cp, mkdtemp, readFile, realpath, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildPackages } from "../../scripts/build/packages.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { npm } from "./installed-fixture.ts";

export interface InstalledPackages {
  /** An empty directory that npm has installed both packages into. */
  directory: string;
  /** What runs as `signalbox` there. */
  signalbox: string;
  tarballs: Record<"signalbox" | "sdk", { bytes: number; files: string[] }>;
  /** Installs more beside them, in the versions that the repository has. */
  add(...names: string[]): Promise<void>;
  remove(): Promise<void>;
}

/** Packs both packages as they would be published, and installs them where no other package can be found. */
export async function installPackages(): Promise<InstalledPackages> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "signalbox-packages-")));
  const directory = join(root, "somebody");
  const places = await buildPackages(join(root, "packages"));
  const pack = async (place: string): Promise<{ file: string; bytes: number; files: string[] }> => {
    const text = await npm(["pack", "--json", "--pack-destination", root], place);
    const [packed] = Object.values(JSON.parse(text)) as { filename: string; files: { path: string }[] }[];
    if (packed === undefined) throw new Error(`npm packed nothing: ${text}`);
    const file = join(root, packed.filename);
    return { file, bytes: (await stat(file)).size, files: packed.files.map(({ path }) => path) };
  };
  const [signalbox, sdk] = await Promise.all([pack(places.signalbox), pack(places.sdk)]);
  await cp(join(projectRoot, "test/fixtures/packages"), directory, { recursive: true });
  const install = (names: string[]): Promise<string> =>
    npm(["install", "--prefer-offline", ...names], directory);
  await install([signalbox.file, sdk.file]);
  return {
    directory,
    signalbox: join(directory, "node_modules/signalbox/signalbox.mjs"),
    tarballs: { signalbox, sdk },
    async add(...names) {
      await install(await Promise.all(names.map(async (name) => `${name}@${await versionOf(name)}`)));
    },
    remove: () => rm(root, { recursive: true, force: true }),
  };
}

async function versionOf(name: string): Promise<string> {
  const text = await readFile(join(projectRoot, "node_modules", name, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
