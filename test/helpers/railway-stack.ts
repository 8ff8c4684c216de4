import { gzipSync } from "node:zlib";
import { packTar } from "modern-tar";
import { join } from "node:path";
import { projectRoot } from "../../scripts/build/worker.ts";
import type { Runnable } from "../../scripts/railway-stand-in/build.ts";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { startTestStack, until, type TestStack } from "./stack.ts";

const BACKEND = join(projectRoot, "test/helpers/railway-backend.mjs");

/** How a source is started that is nothing but a few files. */
export const START = `exec "${process.execPath}" "${BACKEND}"`;

const image = (version: string): Runnable => ({
  command: [process.execPath, BACKEND],
  env: { APP_VERSION: version },
});

/** The Worker set up for a stand-in of Railway that has the service with the users' variables. */
export interface RailwayStack {
  railway: RailwayStandIn;
  stack: TestStack;
  stop(): Promise<void>;
}

export async function startRailwayStack(
  options: {
    variables?: Record<string, string>;
    /** The Worker's settings about Railway, instead of a project token and nothing else. */
    settings?: (railway: RailwayStandIn) => Record<string, string>;
  } = {},
): Promise<RailwayStack> {
  const railway = await startRailwayStandIn({
    images: { "shop:1": image("one"), "shop:2": image("two"), "shop:deaf": { command: ["sleep", "600"] } },
    repos: { "acme/shop": image("repo") },
    pace: { stepMs: 20, secondMs: 100, coldStart502: true },
  });
  railway.state.addService("pulse-env", { variables: options.variables ?? { GREETING: "hello" } });
  const stack = await startTestStack({
    settings: {
      RAILWAY_API_URL: railway.url,
      RAILWAY_CALLS_PER_MINUTE: "10000",
      ...(options.settings?.(railway) ?? { RAILWAY_TOKEN: railway.projectToken }),
    },
  });
  return {
    railway,
    stack,
    async stop() {
      await stack.stop();
      await railway.stop();
    },
  };
}

/** Begins a deployment on Railway; throws unless it is accepted. */
export async function begin(
  { stack }: RailwayStack,
  app: string,
  id: string,
  target: Record<string, unknown>,
): Promise<void> {
  const body = { id, target: { kind: "railway", ...target } };
  const answer = await stack.api("POST", `/apps/${app}/deployments`, body);
  if (answer.status !== 202) throw new Error(`Deploying ${id}: ${JSON.stringify(answer.body)}`);
}

/** Waits until a deployment is over with its rollout, and answers its state and the reason of a failure. */
export async function outcome(
  { stack }: RailwayStack,
  app: string,
  id: string,
  timeoutMs = 60_000,
): Promise<{ state: string; reason: string | null }> {
  const { body } = await until(
    () => stack.api("GET", `/apps/${app}/deployments/${id}`),
    ({ body: seen }) => seen["state"] !== "pending" && seen["state"] !== "ready",
    timeoutMs,
  );
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the control API's own view
  const { state, failure } = body as { state: string; failure: { reason: string } | null };
  return { state, reason: failure?.reason ?? null };
}

/** A gzipped tar of a few files. */
export async function packFiles(files: Record<string, string>): Promise<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  const entries = Object.entries(files).map(([name, content]) => {
    const body = encoder.encode(content);
    return { header: { name, size: body.length }, body };
  });
  return new Uint8Array(gzipSync(await packTar(entries)));
}
