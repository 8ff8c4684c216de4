import { join, resolve } from "node:path";
import { readFile, writeFile } from "node:fs/promises";
import { ControlProblem } from "./control-client.ts";
import { startExample, type ExampleApp } from "./example-app.ts";
import { readSettings, SettingError } from "./settings.ts";
import { startStack, type Stack } from "./stack.ts";

/** The app that `npm start` shows, deployed as `v1`. */
const DEMO_APP = "live-counter";
const DEMO_DEPLOYMENT = "v1";

try {
  await main();
} catch (error) {
  const expected = error instanceof SettingError || error instanceof ControlProblem;
  console.error(expected || error instanceof Error ? `Signalbox can't start: ${error.message}` : error);
  process.exit(1);
}

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const stopped = new Promise<void>((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });
  const stack = await startStack(settings);
  let example: ExampleApp | undefined;
  const end = async (): Promise<void> => {
    await example?.stop();
    await stack.stop();
  };
  const died = stack.workerd.exited.then((code) => `workerd ended by itself with code ${code}`);
  try {
    if (settings.demo) example = await deployDemo(stack, resolve(settings.home));
    console.log(`Signalbox is ready: ${stack.url}/_signalbox/`);
    console.log(`  control token: in ${join(settings.home, "local.json")} (controlToken)`);
    if (example) console.log(`  the example, deployed as ${DEMO_DEPLOYMENT}: ${stack.url}/`);
    const reason = await Promise.race([stopped.then(() => null), died]);
    if (reason !== null) throw new Error(reason);
  } finally {
    await end();
  }
}

/** Starts the example where an earlier start left it, and makes sure that it is deployed. */
async function deployDemo(stack: Stack, home: string): Promise<ExampleApp> {
  const portFile = join(home, "example.port");
  const port = Number(await readFile(portFile, "utf8").catch(() => "0"));
  const example = await startExample({
    deploymentId: DEMO_DEPLOYMENT,
    internalToken: stack.secrets.internalToken,
    port,
    serverAddress: stack.url,
  });
  try {
    await writeFile(portFile, String(example.port));
    const existing = await stack.control.call("GET", `/apps/${DEMO_APP}`).catch((error: unknown) => {
      if (error instanceof ControlProblem && error.code === "unknown_app") return null;
      throw error;
    });
    if (existing === null) await stack.control.call("PUT", `/apps/${DEMO_APP}`, { default: true });
    if ((await stack.control.deployment(DEMO_APP, DEMO_DEPLOYMENT)) === null) {
      const target = { kind: "url", url: example.url };
      await stack.control.call("POST", `/apps/${DEMO_APP}/deployments`, { id: DEMO_DEPLOYMENT, target });
    }
    await stack.control.until(DEMO_APP, DEMO_DEPLOYMENT, ["active", "ready", "draining", "removed"], 60_000);
    return example;
  } catch (error) {
    await example.stop();
    throw error;
  }
}
