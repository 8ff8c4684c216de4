import { execFile } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { bundleCli } from "../../scripts/build-cli.ts";
import { packTree } from "../../scripts/cli/packing/archive.ts";
import { readSourceTree } from "../../scripts/cli/packing/source-tree.ts";
import { upload } from "../../scripts/cli/deploy/upload.ts";
import { LOCAL_RUNNER, startLocalRunner } from "../../scripts/local-runner.ts";
import { readSettings } from "../../scripts/settings.ts";
import { startStack, type Stack } from "../../scripts/stack.ts";
import { median } from "./load.ts";

const DEPLOYS = 9;
const APP = "bench";
const START = "node server.mjs";
const SERVER = `import { createServer } from "node:http";
createServer((_, response) => response.end("up")).listen(process.env.PORT, process.env.HOST);
`;

export interface DeployResults {
  deploys: number;
  /** Medians, in milliseconds: the whole process, and what it reports of each step. */
  commandMs: number;
  stepsMs: Record<string, number>;
  /** The same rollout by calls of the control API alone, without packing or progress. */
  apiMs: number;
}

/** `signalbox deploy` of a small source that changes each time, from the process's start to its end. */
export async function benchDeploy(directory: string): Promise<DeployResults> {
  const home = join(directory, "deploy-home");
  const source = join(directory, "deploy-source");
  await mkdir(source, { recursive: true });
  const cli = await bundleCli(directory);
  const settings = readSettings({ ...process.env, PORT: "0", SIGNALBOX_HOME: home, SIGNALBOX_DEMO: "0" });
  const stack = await startStack(settings, process.env, "ignore");
  try {
    const runner = await startLocalRunner(stack, home, "ignore");
    try {
      return await measure(stack, cli, source, home);
    } finally {
      await runner.stop();
    }
  } finally {
    await stack.stop();
    await rm(source, { recursive: true });
  }
}

async function measure(stack: Stack, cli: string, source: string, home: string): Promise<DeployResults> {
  const { control } = stack;
  const commands: number[] = [];
  const api: number[] = [];
  const steps: Record<string, number[]> = {};
  for (let turn = 0; turn <= DEPLOYS; turn++) {
    await writeFile(join(source, "server.mjs"), `// ${turn}\n${SERVER}`);
    const startedAt = performance.now();
    const args = [cli, "deploy", source, "--json", "--app", APP, "--contract", "none", "--start", START];
    const { stdout } = await promisify(execFile)(process.execPath, [...args, "--id", `c${turn}`], {
      env: { PATH: process.env["PATH"], HOME: home, SIGNALBOX_HOME: home },
    });
    const commandMs = performance.now() - startedAt;

    await writeFile(join(source, "server.mjs"), `// ${turn}, by calls alone\n${SERVER}`);
    const archive = await packTree(await readSourceTree(source, { alone: true }));
    const calledAt = performance.now();
    await upload(control, `/runners/${LOCAL_RUNNER}/sources`, archive, () => undefined);
    archive.remove();
    const target = {
      kind: "runner" as const,
      runnerId: LOCAL_RUNNER,
      source: { sha256: archive.sha256 },
      start: START,
    };
    await control.createDeployment(APP, { id: `a${turn}`, target });
    await control.until(APP, `a${turn}`, ["active"], 60_000);
    // The first one creates the app.
    if (turn === 0) continue;
    api.push(performance.now() - calledAt);
    commands.push(commandMs);
    const result = JSON.parse(stdout.trim().split("\n").at(-1) ?? "{}") as { steps: Record<string, number> };
    for (const [step, ms] of Object.entries(result.steps)) (steps[step] ??= []).push(ms);
  }
  return {
    deploys: DEPLOYS,
    commandMs: Math.round(median(commands)),
    stepsMs: Object.fromEntries(Object.entries(steps).map(([step, all]) => [step, Math.round(median(all))])),
    apiMs: Math.round(median(api)),
  };
}

export function printDeploy({ deploys, commandMs, stepsMs, apiMs }: DeployResults): void {
  const steps = Object.entries(stepsMs).map(([step, ms]) => `${step} ${ms}`);
  console.log(
    `\nsignalbox deploy of a small source, median of ${deploys}: ${commandMs} ms in all (${steps.join(", ")}); ` +
      `the same by the control API alone ${apiMs} ms, a ratio of ${(commandMs / apiMs).toFixed(2)}`,
  );
}
