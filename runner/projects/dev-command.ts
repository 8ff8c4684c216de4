import { access } from "node:fs/promises";
import { join } from "node:path";
import { readPackageJson } from "../packages/package-json.ts";
import type { PortRange } from "../ports.ts";

export interface DevCommand {
  framework: string;
  command: string;
  ports: PortRange;
}

/** Where people expect each framework's server. Source: SentryVibe's ranges. */
const PORTS = {
  node: { first: 3_101, last: 3_200 },
  astro: { first: 4_321, last: 4_421 },
  vite: { first: 5_173, last: 5_273 },
  other: { first: 6_000, last: 6_100 },
} as const;

/** Servers that don't read PORT; the flags come after the project's own. */
const FLAGS = "--port $PORT --host 127.0.0.1";

/** The first that a project depends on. Some are built on Vite, so Vite is last. */
const FRAMEWORKS: readonly { dependency: string; framework: string; flags: string; ports: PortRange }[] = [
  { dependency: "next", framework: "next", flags: "--port $PORT --hostname 127.0.0.1", ports: PORTS.node },
  { dependency: "astro", framework: "astro", flags: FLAGS, ports: PORTS.astro },
  {
    dependency: "@tanstack/react-start",
    framework: "tanstack-start",
    flags: `${FLAGS} --strictPort`,
    ports: PORTS.vite,
  },
  { dependency: "vite", framework: "vite", flags: `${FLAGS} --strictPort`, ports: PORTS.vite },
];

/** A script that is one command and nothing more, to which flags can be added. */
const ONE_COMMAND = /^[\w@./:=-]+(?: [\w@./:=-]+)*$/;

/** What runs the project's own script, which says more than its name. */
const OWN_SCRIPT = /^\s*(?:npm|pnpm|yarn|bun)(?: run)? (?:dev|start)\s*$/;

/** How a project's development server is started, or with this command; null: there is nothing that could be. */
export async function devCommandOf(directory: string, command?: string): Promise<DevCommand | null> {
  const found = await detect(directory);
  if (command === undefined || OWN_SCRIPT.test(command)) return found;
  return { framework: found?.framework ?? "other", command, ports: found?.ports ?? PORTS.other };
}

async function detect(directory: string): Promise<DevCommand | null> {
  const manifest = await readPackageJson(directory);
  const scripts = manifest?.scripts ?? {};
  const name = ["dev", "start"].find((one) => typeof scripts[one] === "string");
  const script = name === undefined ? undefined : scripts[name];
  if (manifest !== null && typeof script === "string") {
    const dependencies = { ...manifest.dependencies, ...manifest.devDependencies };
    const known = FRAMEWORKS.find(({ dependency }) => dependency in dependencies);
    if (known === undefined) return { framework: "node", command: `npm run ${name}`, ports: PORTS.node };
    const { framework, flags, ports } = known;
    const command = ONE_COMMAND.test(script) ? `${script} ${flags}` : `npm run ${name} -- ${flags}`;
    return { framework, command, ports };
  }
  const isPage = await access(join(directory, "index.html")).then(
    () => true,
    () => false, // there is none
  );
  return isPage ? { framework: "static", command: "signalbox-runner static .", ports: PORTS.other } : null;
}
