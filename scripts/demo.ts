import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Visitor } from "./demo/visitor.ts";
import { EXAMPLE_START } from "./local/example-source.ts";
import {
  giveCredential,
  LOCAL_RUNNER,
  startLocalRunner,
  uploadExample,
  type LocalRunner,
} from "./local/runner.ts";
import { readSettings } from "./local/settings.ts";
import { startStack, type Stack } from "./local/stack.ts";
import { check, seen, tell } from "./demo/story.ts";
import { projectStory } from "./demo/project.ts";
import { viteStory } from "./demo/vite-page.ts";

/** The whole story on real processes, told step by step; ends with 0 only if every step was seen. */

const APP = "live-counter";
const STEP_TIMEOUT_MS = 30_000;

const home = await mkdtemp(join(tmpdir(), "signalbox-demo-"));
const visitors: Visitor[] = [];
let stack: Stack | undefined;
let runner: LocalRunner | undefined;

try {
  const settings = readSettings({ ...process.env, PORT: "0", SIGNALBOX_HOME: home, SIGNALBOX_DEMO: "0" });
  stack = await startStack(settings, process.env, "ignore");
  await giveCredential(stack, home);
  runner = startLocalRunner(stack, home);
  await runner.online;
  await story(stack);
  await viteStory(stack, home);
  await projectStory(stack, join(home, "workspace"));
  console.log("\nAll of it was seen. Nothing was cut, nothing was lost.");
} catch (error) {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  for (const visitor of visitors) visitor.close();
  await runner?.stop();
  await stack?.stop();
  await rm(home, { recursive: true, force: true });
}

async function story(running: Stack): Promise<void> {
  const { control, url } = running;
  const origin = url.replace("localhost", "127.0.0.1");
  const source = await uploadExample(running);

  const deploy = async (id: string): Promise<void> => {
    const target = { kind: "runner", runnerId: LOCAL_RUNNER, source, start: EXAMPLE_START };
    await control.call("POST", `/apps/${APP}/deployments`, { id, target });
    await control.until(APP, id, ["active"], STEP_TIMEOUT_MS);
  };
  const visit = async (): Promise<Visitor> => {
    const visitor = await Visitor.open(origin);
    visitors.push(visitor);
    return visitor;
  };
  /** A new visitor, once the edge has seen a promote: until then the former version answers, late but never wrong. */
  const newcomer = async (expected: string): Promise<Visitor> => {
    await seen(`new visitors get ${expected}`, async () => {
      const response = await fetch(origin);
      await response.text();
      return response.headers.get("x-pulse-selected-deployment") === expected;
    });
    return visit();
  };
  const counting = async (visitor: Visitor, version: string): Promise<void> => {
    const from = visitor.count;
    await seen(`the page keeps counting`, () => visitor.count > from + 2);
    check(visitor.version === version && visitor.reloads === 0, `the page left ${version}`);
    tell(`The page opened on ${version} is still on ${version}, and counts: ${visitor.count}.`);
  };

  await control.call("PUT", `/apps/${APP}`, {
    default: true,
    drainTtlSeconds: 8,
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 2,
  });
  await deploy("v1");
  const anna = await newcomer("v1");
  tell(`v1 serves at ${url}/, from a runner that dialled out. A visitor opens the page and leaves it open.`);
  await counting(anna, "v1");

  await deploy("v2");
  tell("v2 is rolled out: verified through the router, then promoted in one swap.");
  await counting(anna, "v1");
  const ben = await newcomer("v2");
  tell(`A new visitor gets ${ben.version}.`);

  await control.call("POST", `/apps/${APP}/rollback`);
  const cleo = await newcomer("v1");
  tell(`Rolled back: new visitors get ${cleo.version} again.`);
  await counting(anna, "v1");
  await counting(ben, "v2");
  cleo.close();

  await control.call("POST", `/apps/${APP}/rollback`);
  await newcomer("v2");
  tell("And forward: v2 is active, v1 drains for 8 s at most.");
  const report = JSON.stringify(await control.call("POST", "/janitor/run", {}));
  check(report.includes('"live_sessions"'), `the janitor didn't see the open page: ${report}`);
  tell("The janitor looks: v1 still has live sessions, so it stays.");
  await counting(anna, "v1");

  await seen("the old page is told to reload", () => anna.reloads > 0);
  await seen("it reloads into the active version", () => anna.version === "v2");
  tell("The drain deadline passes: the old page is told to reload, and comes back on v2.");
  const id = "v1";
  await control.until(APP, id, ["removed"], STEP_TIMEOUT_MS);
  check(anna.reloads === 1, `the page reloaded ${anna.reloads} times`);
  check(ben.reloads === 0, "a page on v2 was reloaded");
  const dead = await fetch(`${origin}/?pulse_deployment=v1`);
  check(
    dead.status === 409 && dead.headers.get("x-pulse-stale-affinity") === "1",
    `a dead pin got ${dead.status}`,
  );
  await dead.text();
  tell("Only then v1 is gone. A request that still asks for it is told so: 409, stale affinity.");
}
