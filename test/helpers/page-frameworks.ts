import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createStaticServer } from "../../runner/static/server.ts";
import { builtApp } from "./page-apps.ts";
import { startPageBackend, type PageBackend } from "./page-backend.ts";
import type { Action, PlainForm } from "./page-tab.ts";
import { Program } from "./program.ts";
import { until } from "./stack.ts";

/** An app of `test/fixtures/pages`: how its server is started, and what its pages can do. */
export interface Framework {
  name: string;
  fixture: string;
  /** For the build and the server of one version. */
  env?: (version: string) => Record<string, string>;
  /** In the app's directory; null for files alone. */
  server: ((port: number) => string[]) | null;
  does: readonly Action[];
  /** The `host` of a `url` target: servers that compare Origin with their own want theirs. */
  host?: "own";
  /** What loads files that have one name in both versions: of two tabs, the one that is turned to gets its own. */
  inTurn?: readonly Action[];
  plainForm: PlainForm | null;
}

const COMMON: readonly Action[] = ["lazy", "worker"];
const ROUTED: readonly Action[] = [...COMMON, "near", "far"];
const next: Omit<Framework, "name"> = {
  fixture: "next",
  server: (port: number) => ["node_modules/next/dist/bin/next", "start", "-p", String(port)],
  does: [...COMMON, "act", "refresh", "image", "optimized", "form", "near", "far"],
  inTurn: ["image", "optimized"],
  plainForm: "one step",
};

export const FRAMEWORKS: Framework[] = [
  {
    name: "Vite and React",
    fixture: "vite-react",
    server: null,
    does: ROUTED,
    plainForm: null,
  },
  {
    name: "Express",
    fixture: "express",
    server: () => ["server.js"],
    does: COMMON,
    inTurn: ["lazy"],
    plainForm: "two steps",
  },
  { name: "Next", ...next },
  {
    name: "Next with NEXT_DEPLOYMENT_ID",
    ...next,
    inTurn: [],
    env: (version) => ({ NEXT_DEPLOYMENT_ID: version }),
  },
  {
    name: "SvelteKit",
    fixture: "sveltekit",
    env: () => ({ PROTOCOL_HEADER: "x-forwarded-proto", HOST_HEADER: "x-forwarded-host" }),
    server: () => ["build/index.js"],
    does: [...COMMON, "act", "refresh", "form", "near", "far"],
    plainForm: "one step",
  },
  {
    name: "Nuxt",
    fixture: "nuxt",
    server: () => [".output/server/index.mjs"],
    does: [...COMMON, "act", "refresh", "near", "far"],
    plainForm: null,
  },
  {
    name: "Astro",
    fixture: "astro",
    host: "own",
    server: () => ["dist/server/entry.mjs"],
    does: [...COMMON, "act", "near", "far"],
    plainForm: "one step",
  },
  {
    name: "React Router",
    fixture: "react-router",
    host: "own",
    server: () => ["node_modules/@react-router/serve/bin.js", "build/server/index.js"],
    does: [...COMMON, "act", "refresh", "form", "near", "far"],
    plainForm: "one step",
  },
  {
    name: "TanStack Start",
    fixture: "tanstack-start",
    server: () => [".output/server/index.mjs"],
    does: [...COMMON, "act", "refresh", "near", "far"],
    plainForm: null,
  },
];

export function framework(name: string): Framework {
  const found = FRAMEWORKS.find((each) => each.name === name);
  if (found === undefined) throw new Error(`There is no framework ${name}.`);
  return found;
}

/** Builds a version of an app where no earlier run did, and starts it. */
export async function startVersion(
  { fixture, env, server }: Pick<Framework, "fixture" | "env" | "server">,
  version: string,
): Promise<PageBackend> {
  const given = env?.(version) ?? {};
  const directory = await builtApp(fixture, version, given);
  if (server === null) {
    const options = { directory: join(directory, "dist"), spa: true, immutable: ["/assets/"] };
    const files = createStaticServer(options, version);
    await once(files.listen(0, "127.0.0.1"), "listening");
    const backend = await startPageBackend(version, (files.address() as AddressInfo).port);
    return closing(backend, () => {
      files.close();
      return Promise.resolve();
    });
  }
  const port = await freePort();
  const program = new Program([process.execPath, ...server(port)], {
    cwd: directory,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: directory,
      NODE_ENV: "production",
      HOST: "127.0.0.1",
      PORT: String(port),
      ...given,
    },
  });
  await until(
    async () => {
      if (program.isOver) throw new Error(`${fixture} ended: ${program.output()}`);
      return fetch(`http://127.0.0.1:${port}/`).then(
        async (answer) => (await answer.text(), true),
        () => false,
      );
    },
    (isUp) => isUp,
  );
  const backend = await startPageBackend(version, port);
  return closing(backend, () => program.kill());
}

function closing(backend: PageBackend, alsoEnd: () => Promise<void>): PageBackend {
  const close = backend.close;
  backend.close = async () => {
    await close();
    await alsoEnd();
  };
  return backend;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
