import type { PackageJson } from "./package-json.ts";
import { configNames, readFirst, type ProjectFiles } from "./project-files.ts";
import type { StaticFiles } from "./static-files.ts";

/** How what a framework has built is served. */
export type Served =
  | { kind: "program"; program: string }
  | { kind: "command"; command: string; afterBuild?: string }
  | { kind: "static"; files: StaticFiles }
  /** Nothing here can serve it; why, and what would help. */
  | { kind: "none"; why: string };

export interface Framework {
  name: string;
  served: Served;
  /** A `start` script that can't serve this: the framework's own way goes before it. */
  replaces?: { script: RegExp; why: string };
  env?: Record<string, string>;
  /** What the framework builds with, where there is no script for it. */
  build: string;
}

interface Project {
  files: ProjectFiles;
  manifest: PackageJson;
  has: (dependency: string) => boolean;
}

/** The more special ones first: most of the others are made with Vite. */
const FRAMEWORKS: [dependency: string, look: (project: Project) => Framework][] = [
  ["next", next],
  ["nuxt", nuxt],
  ["@sveltejs/kit", svelteKit],
  ["@tanstack/react-start", (project) => tanStack(project)],
  ["@tanstack/solid-start", (project) => tanStack(project)],
  ["@react-router/dev", reactRouter],
  ["@remix-run/serve", remix],
  ["@solidjs/start", () => ({ name: "SolidStart", build: "vinxi build", served: nitro })],
  ["astro", astro],
  ["gatsby", () => site("Gatsby", "gatsby build", { directories: ["public"] })],
  ["@docusaurus/core", () => site("Docusaurus", "docusaurus build", { directories: ["build"] })],
  ["vitepress", vitePress],
  ["@11ty/eleventy", () => site("Eleventy", "eleventy", { directories: ["_site"] })],
  ["react-scripts", createReactApp],
  ["@vue/cli-service", () => site("Vue CLI", "vue-cli-service build", { directories: ["dist"], spa: true })],
  ["@angular/core", angular],
  ["vite", vite],
  ["parcel", () => site("Parcel", "parcel build", { directories: ["dist"], spa: true })],
];

export function frameworkOf(files: ProjectFiles, manifest: PackageJson): Framework | null {
  const has = (dependency: string): boolean => dependency in manifest.dependencies;
  const found = FRAMEWORKS.find(([dependency]) => has(dependency));
  return found?.[1]({ files, manifest, has }) ?? null;
}

const nitro: Served = { kind: "command", command: "node .output/server/index.mjs" };

/** Where Next put the server: below it, the path from the root that it took for the workspace's. */
const STANDALONE = `"$(find .next/standalone -name server.js -not -path "*/node_modules/*" | head -n 1)"`;

function next({ files }: Project): Framework {
  const config = readFirst(files, configNames("next.config"));
  const made = { name: "Next", build: "next build" };
  switch (textOption(config, "output")) {
    case "export":
      return {
        ...made,
        served: { kind: "static", files: { directories: ["out"], immutable: "_next/static" } },
      };
    case "standalone":
      return {
        ...made,
        served: {
          kind: "command",
          command: `HOSTNAME="$HOST" exec node ${STANDALONE}`,
          // Next leaves these two for a CDN.
          afterBuild:
            `d=$(dirname ${STANDALONE}) && mkdir -p "$d/.next" && cp -R .next/static "$d/.next/" && ` +
            `if [ -d public ]; then cp -R public "$d/"; fi`,
        },
        replaces: { script: /\bnext start\b/, why: "next start doesn't serve output: standalone" },
      };
    default:
      return { ...made, served: { kind: "program", program: 'next start -H "$HOST"' } };
  }
}

function nuxt({ manifest }: Project): Framework {
  const made = { name: "Nuxt", build: "nuxt build" };
  if (!/\bgenerate\b/.test(manifest.scripts["build"] ?? "")) return { ...made, served: nitro };
  return {
    ...made,
    served: { kind: "static", files: { directories: [".output/public"], immutable: "_nuxt" } },
  };
}

function svelteKit({ files, has }: Project): Framework {
  const made = { name: "SvelteKit", build: "vite build" };
  const config = readFirst(files, [...configNames("svelte.config"), ...configNames("vite.config")]);
  if (has("@sveltejs/adapter-node")) {
    return {
      ...made,
      served: { kind: "command", command: `node ${textOption(config, "out") ?? "build"}/index.js` },
      // Its forms compare the Origin with what these say.
      env: { PROTOCOL_HEADER: "x-forwarded-proto", HOST_HEADER: "x-forwarded-host" },
    };
  }
  if (has("@sveltejs/adapter-static")) {
    const fallback = textOption(config, "fallback");
    return {
      ...made,
      served: {
        kind: "static",
        files: {
          directories: [textOption(config, "pages") ?? "build"],
          immutable: "_app/immutable",
          ...(fallback === "index.html" ? { spa: true } : {}),
        },
      },
    };
  }
  return {
    ...made,
    served: {
      kind: "none",
      why: "SvelteKit needs @sveltejs/adapter-node (or adapter-static) to be served here",
    },
  };
}

function tanStack({ has }: Project): Framework {
  const made = { name: "TanStack Start", build: "vite build" };
  if (has("nitro") || has("nitropack")) return { ...made, served: nitro };
  if (has("srvx")) {
    return {
      ...made,
      served: { kind: "program", program: "srvx --prod -s ../client dist/server/server.js" },
    };
  }
  return {
    ...made,
    served: {
      kind: "none",
      why: "TanStack Start builds no server by itself: add nitro to its Vite plugins, or a start script",
    },
  };
}

function reactRouter({ files, has }: Project): Framework {
  const made = { name: "React Router", build: "react-router build" };
  const config = readFirst(files, configNames("react-router.config"));
  if (/\bssr\s*:\s*false\b/.test(config)) {
    const built = { directories: ["build/client"], spa: true, immutable: "assets" };
    return { ...made, served: { kind: "static", files: built } };
  }
  if (has("@react-router/serve")) {
    return { ...made, served: { kind: "program", program: "react-router-serve ./build/server/index.js" } };
  }
  return {
    ...made,
    served: { kind: "none", why: "React Router needs @react-router/serve, or a start script of your own" },
  };
}

function remix(): Framework {
  return {
    name: "Remix",
    build: "remix vite:build",
    served: { kind: "program", program: "remix-serve ./build/server/index.js" },
  };
}

function astro({ files, has }: Project): Framework {
  const made = { name: "Astro", build: "astro build" };
  const config = readFirst(files, configNames("astro.config"));
  const output = textOption(config, "outDir")?.replace(/^\.\//, "").replace(/\/$/, "") ?? "dist";
  if (has("@astrojs/node")) {
    if (textOption(config, "mode") === "middleware") {
      const why = 'the Node adapter of Astro needs mode: "standalone", or a start script of your own';
      return { ...made, served: { kind: "none", why } };
    }
    return { ...made, served: { kind: "command", command: `node ${output}/server/entry.mjs` } };
  }
  return { ...made, served: { kind: "static", files: { directories: [output], immutable: "_astro" } } };
}

function vitePress({ manifest }: Project): Framework {
  const script = Object.values(manifest.scripts).find((text) => /\bvitepress build\b/.test(text)) ?? "";
  const source = /\bvitepress build\s+([\w./-]+)/.exec(script)?.[1] ?? ".";
  const output = source === "." ? ".vitepress/dist" : `${source.replace(/\/$/, "")}/.vitepress/dist`;
  return site("VitePress", `vitepress build ${source}`, { directories: [output], immutable: "assets" });
}

function createReactApp(): Framework {
  const made = site("Create React App", "react-scripts build", { directories: ["build"], spa: true });
  return {
    ...made,
    replaces: { script: /\breact-scripts start\b/, why: "react-scripts start is a development server" },
  };
}

function angular({ files, manifest }: Project): Framework {
  const name =
    /"projects"\s*:\s*\{\s*"([^"]+)"/.exec(files.read("angular.json") ?? "")?.[1] ?? manifest.name ?? "app";
  return site("Angular", "ng build", { directories: [`dist/${name}/browser`, `dist/${name}`], spa: true });
}

function vite({ files }: Project): Framework {
  const config = readFirst(files, configNames("vite.config"));
  const output = textOption(config, "outDir")?.replace(/^\.\//, "") ?? "dist";
  const isMultiPage = textOption(config, "appType") === "mpa";
  return site("Vite", "vite build", {
    directories: [output],
    ...(isMultiPage ? {} : { spa: true }),
    immutable: textOption(config, "assetsDir") ?? "assets",
  });
}

function site(name: string, build: string, files: StaticFiles): Framework {
  return { name, build, served: { kind: "static", files } };
}

/** A text that a configuration gives literally. What it computes is only known once it runs. */
function textOption(config: string, name: string): string | undefined {
  return new RegExp(`(?:^|[\\s{,(])["']?${name}["']?\\s*:\\s*["'\`]([^"'\`$]+)["'\`]`, "m").exec(
    withoutComments(config),
  )?.[1];
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}
