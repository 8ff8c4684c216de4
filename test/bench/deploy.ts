import { join } from "node:path";
import { z } from "zod";
import { projectRoot } from "../../scripts/build/worker.ts";
import { startRailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { startRunner } from "../helpers/runner.ts";
import { RailwayCli, RUNNER_IMAGE, RUNNER_IMAGES } from "../helpers/railway-cli.ts";
import { CONTROL_TOKEN, INTERNAL_TOKEN, RUNNER_SECRET, startTestStack } from "../helpers/stack.ts";
import { median } from "./load.ts";

const DEPLOYS = 5;
const EXAMPLE = join(projectRoot, "examples/live-counter");
const STEPS = ["prepare", "pack", "upload", "provision", "verify", "promote"];
/** The operator's machine alone. */
const BEFORE = ["prepare", "pack"];

export interface DeployResults {
  /** `runner`: through a runner of this machine. `railway`: through the stand-in for Railway's API. */
  target: "runner" | "railway";
  /** Medians, in milliseconds, as the command line shows them. */
  steps: Record<string, number>;
  /** From the command's start to the active deployment. */
  totalMs: number;
  /** From the first call to the active deployment; steps overlap, so this has the platform's own build in it. */
  rolloutMs: number;
  railwayCalls: number | null;
}

/** `signalbox deploy` of the example, from the command line to the active deployment, by its own account. */
export async function benchDeploys(): Promise<DeployResults[]> {
  return [await onRunner(), await onRailway()];
}

export function printDeploys(results: DeployResults[]): void {
  console.log(`\nsignalbox deploy examples/live-counter, median of ${DEPLOYS}, in ms`);
  for (const { target, steps, totalMs, rolloutMs, railwayCalls } of results) {
    const parts = STEPS.filter((step) => step in steps).map((step) => `${step} ${steps[step]}`);
    const calls = railwayCalls === null ? "" : `; ${railwayCalls} GraphQL calls each`;
    console.log(
      `${target.padEnd(8)} ${totalMs} in all: ${parts.join(", ")}; the rollout ${rolloutMs}${calls}`,
    );
  }
}

async function onRunner(): Promise<DeployResults> {
  const stack = await startTestStack();
  const runner = await startRunner(stack, { id: "bench" });
  const cli = await RailwayCli.create({ SIGNALBOX_URL: stack.origin, SIGNALBOX_TOKEN: CONTROL_TOKEN });
  try {
    return { target: "runner", ...(await deploys(cli, [])), railwayCalls: null };
  } finally {
    await cli.remove();
    await runner.remove();
    await stack.stop();
  }
}

/** The stand-in takes 100 ms from state to state; what Railway takes is Railway's. */
async function onRailway(): Promise<DeployResults> {
  const railway = await startRailwayStandIn({ images: RUNNER_IMAGES, pace: { stepMs: 100 } });
  const stack = await startTestStack({
    settings: { RAILWAY_API_URL: railway.url, RAILWAY_TOKEN: railway.projectToken },
  });
  const cli = await RailwayCli.create({
    RAILWAY_API_URL: railway.url,
    RAILWAY_TOKEN: railway.projectToken,
    SIGNALBOX_URL: stack.origin,
    SIGNALBOX_TOKEN: CONTROL_TOKEN,
    CONTROL_TOKEN,
    PULSE_RAILWAY_INTERNAL_TOKEN: INTERNAL_TOKEN,
    RUNNER_SHARED_SECRET: RUNNER_SECRET,
  });
  try {
    await cli.done(["scaffold", "--runner-image", RUNNER_IMAGE]);
    const before = railway.faults.calls.length;
    const results = await deploys(cli, ["--target", "railway"]);
    const calls = railway.faults.calls.slice(before).length / DEPLOYS;
    return { target: "railway", ...results, railwayCalls: Math.round(calls * 10) / 10 };
  } finally {
    await cli.remove();
    await stack.stop();
    await railway.stop();
  }
}

async function deploys(
  cli: RailwayCli,
  flags: string[],
): Promise<Pick<DeployResults, "steps" | "totalMs" | "rolloutMs">> {
  const runs: { elapsedMs: number; steps: Record<string, number> }[] = [];
  for (let turn = 0; turn < DEPLOYS; turn++) {
    // An id of its own: two of one second would have the same.
    const args = ["deploy", EXAMPLE, ...flags, "--id", `bench-${turn}`, "--json"];
    const { code, stdout, stderr } = await cli.run(args);
    if (code !== 0) throw new Error(`signalbox ${args.join(" ")} ended with ${code}: ${stderr}`);
    runs.push(result.parse(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")));
  }
  const of = (step: string): number => Math.round(median(runs.map(({ steps }) => steps[step] ?? 0)));
  return {
    steps: Object.fromEntries(STEPS.map((step) => [step, of(step)])),
    totalMs: Math.round(median(runs.map(({ elapsedMs }) => elapsedMs))),
    rolloutMs: Math.round(
      median(
        runs.map(({ elapsedMs, steps }) =>
          BEFORE.reduce((rest, step) => rest - (steps[step] ?? 0), elapsedMs),
        ),
      ),
    ),
  };
}

const result = z.object({
  type: z.literal("result"),
  state: z.literal("active"),
  elapsedMs: z.number(),
  steps: z.record(z.string(), z.number()),
});
