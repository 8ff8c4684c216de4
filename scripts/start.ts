import { join, resolve } from "node:path";
import { printable } from "../functions/protocol/printable.ts";
import { ControlProblem } from "./client/control-client.ts";
import { askedToStop } from "./local/asked-to-stop.ts";
import { EXAMPLE_START } from "./local/example-source.ts";
import { LOCAL_RUNNER, startLocalRunner, uploadExample, type LocalRunner } from "./local/runner.ts";
import { readSettings, SettingError } from "./local/settings.ts";
import { startStack, type Stack } from "./local/stack.ts";

/** The app that `npm start` shows, deployed as `v1`. */
const DEMO_APP = "live-counter";
const DEMO_DEPLOYMENT = "v1";
const START_TIMEOUT_MS = 60_000;

try {
  await main();
  // A start that was broken off may still wait for something.
  process.exit(0);
} catch (error) {
  const expected = error instanceof SettingError || error instanceof ControlProblem;
  console.error(
    expected || error instanceof Error ? printable(`Signalbox can't start: ${error.message}`) : error,
  );
  process.exit(1);
}

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const stopped = askedToStop();
  const home = resolve(settings.home);
  const stack = await startStack(settings);
  const started: { runner?: LocalRunner } = {};
  const starting = async (): Promise<LocalRunner> => {
    const runner = (started.runner = startLocalRunner(stack, home));
    await runner.online;
    if (settings.demo) await deployDemo(stack, runner);
    return runner;
  };
  try {
    const runner = await Promise.race([starting(), stopped.then(() => null)]);
    if (runner === null) return;
    console.log(`Signalbox is ready: ${stack.dashboard}`);
    console.log(`  control token: in ${join(settings.home, "local.json")} (controlToken)`);
    console.log(
      `  a runner on this machine: ${LOCAL_RUNNER}, with its workspace in ${join(settings.home, "workspace")}`,
    );
    if (settings.demo) console.log(`  the example, deployed through it as ${DEMO_DEPLOYMENT}: ${stack.url}/`);
    const reason = await Promise.race([
      stopped.then(() => null),
      stack.workerd.exited.then((code) => `workerd ended by itself with code ${code}`),
      runner.exited,
    ]);
    if (reason !== null) throw new Error(reason);
  } finally {
    await started.runner?.stop();
    await stack.stop();
  }
}

/** Deploys the example unless an earlier start did: then its runner brings it back by itself. */
async function deployDemo(stack: Stack, runner: LocalRunner): Promise<void> {
  const { control } = stack;
  const existing = await control.call("GET", `/apps/${DEMO_APP}`).catch((error: unknown) => {
    if (error instanceof ControlProblem && error.code === "unknown_app") return null;
    throw error;
  });
  if (existing === null) await control.call("PUT", `/apps/${DEMO_APP}`, { default: true });
  if ((await control.deployment(DEMO_APP, DEMO_DEPLOYMENT)) === null) {
    const target = {
      kind: "runner",
      runnerId: LOCAL_RUNNER,
      source: await uploadExample(stack),
      start: EXAMPLE_START,
    };
    await control.call("POST", `/apps/${DEMO_APP}/deployments`, { id: DEMO_DEPLOYMENT, target });
  }
  await control.until(
    DEMO_APP,
    DEMO_DEPLOYMENT,
    ["active", "ready", "draining", "removed"],
    START_TIMEOUT_MS,
  );
  await serves(stack, runner);
}

/** After a restart the deployment is active long before its process runs again. */
async function serves({ workerd }: Stack, runner: LocalRunner): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${workerd.port}/`);
    await response.body?.cancel();
    if (response.status < 500) return;
    if (Date.now() > deadline) {
      const said = [`The example answers ${response.status}. Its runner said last:`, ...runner.lastLines()];
      throw new Error(said.join("\n  "));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
