import { join } from "node:path";
import { systemLine } from "../logs/log-file.ts";
import type { ManagerStore } from "../packages/manager-store.ts";
import { type Manager, missingManagers } from "../packages/wanted-managers.ts";
import { inheritedPath } from "../processes/environment.ts";
import { runStep, StepFailure, type StepOptions } from "./steps.ts";

/**
 * Where the package managers are that a deployment's commands name and this machine lacks. Those that aren't there yet
 * are installed first. Throws {@link StepFailure} if that fails.
 */
export async function bringManagers(
  store: ManagerStore,
  commands: readonly string[],
  step: StepOptions & { limitMs: number },
): Promise<string[]> {
  const binaries: string[] = [];
  const path = inheritedPath([join(step.work, "node_modules", ".bin")]);
  for (const manager of await missingManagers(step.work, commands, path)) {
    binaries.push((await store.find(manager)) ?? (await bring(store, manager, step)));
  }
  return binaries;
}

async function bring(
  store: ManagerStore,
  manager: Manager,
  step: StepOptions & { limitMs: number },
): Promise<string> {
  const title = `${manager.name} ${manager.version}`;
  await step.log.append([systemLine(`${title} isn't on this machine: it is installed from npm.`, step.step)]);
  try {
    return await store.bring(manager, step.signal, (command, directory) =>
      // Not the deployment's variables nor its home: what is installed here is for every other deployment too.
      runStep({ ...step, command, work: directory, home: join(step.temporary, "home"), given: {} }),
    );
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    throw new StepFailure(
      `${title} isn't on this machine and can't be installed: ${error.message}. Check the runner's way to the npm ` +
        `registry (npm_config_registry, HTTPS_PROXY, NODE_EXTRA_CA_CERTS), or install ${manager.name} on the machine`,
      error.lastLines,
    );
  }
}
