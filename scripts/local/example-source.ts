import { join } from "node:path";
import { projectRoot } from "../build/worker.ts";
import { readConfig } from "../cli/config-file.ts";
import { runPrepare } from "../cli/deploy/prepare.ts";
import { planDeployment, type TargetPlan } from "../cli/deploy/plan.ts";
import { packTree, type Archive } from "../cli/packing/archive.ts";
import { readSourceTree } from "../cli/packing/source-tree.ts";

const directory = join(projectRoot, "examples/live-counter");

/** What starts the example once its source is unpacked. */
export const EXAMPLE_START = examplePlan().start;

/** `examples/live-counter` as `signalbox deploy` packs it. Whoever calls removes it. */
export async function packExample(): Promise<Archive> {
  const { source } = examplePlan();
  const lines: string[] = [];
  if (source.prepare !== null) {
    await runPrepare(source.prepare, { env: process.env, log: (line) => lines.push(line) }).catch(
      (error: unknown) => {
        throw new Error(`The example can't be prepared: ${lines.join("\n")}`, { cause: error });
      },
    );
  }
  return packTree(await readSourceTree(source.directory, { alone: source.prepare !== null }));
}

function examplePlan(): Extract<TargetPlan, { kind: "runner" }> {
  const { target } = planDeployment({}, readConfig(join(directory, "signalbox.json")), null);
  if (target.kind !== "runner") throw new Error("The example is meant for a runner.");
  return target;
}
