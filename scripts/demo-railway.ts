import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { projectRoot } from "./build/worker.ts";
import { Operator } from "./demo/operator.ts";
import { Visitor } from "./demo/visitor.ts";
import { freePort } from "./local/free-port.ts";
import { startRailwayStandIn, type RailwayStandIn } from "./railway-stand-in/index.ts";
import { readSettings } from "./local/settings.ts";
import { startStack, type Stack } from "./local/stack.ts";
import { check, seen, tell } from "./demo/story.ts";

/**
 * A stack on Railway from an empty project to the last deletion, told step by step: the real command line, the real
 * Worker and a real runner, with a stand-in for Railway that runs its services as processes of this machine. Ends with
 * 0 only if every step was seen.
 */

const APP = "live-counter";
const RUNNER_IMAGE = "signalbox/runner:demo";
const APP_IMAGE = "example/live-counter:1";
const STEP_TIMEOUT_MS = 90_000;
const DRAIN_SECONDS = 20;

const home = await mkdtemp(join(tmpdir(), "signalbox-demo-"));
const visitors: Visitor[] = [];
let railway: RailwayStandIn | undefined;
let stack: Stack | undefined;

try {
  railway = await startRailwayStandIn({
    images: {
      [RUNNER_IMAGE]: { command: [process.execPath, join(projectRoot, "runner/index.ts"), "runner"] },
      [APP_IMAGE]: { command: [process.execPath, join(projectRoot, "examples/live-counter/server.ts")] },
    },
    project: "shop",
    // A second of Railway's is a tenth of ours.
    pace: { stepMs: 100, secondMs: 100 },
  });
  await story(railway);
  console.log("\nAll of it was seen, and the project holds exactly what it should.");
} catch (error) {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  for (const visitor of visitors) visitor.close();
  await stack?.stop();
  await railway?.stop();
  await rm(home, { recursive: true, force: true });
}

async function story({ url: api, state, accountToken, projectToken }: RailwayStandIn): Promise<void> {
  state.addService("database", { variables: { OWNER: "somebody else" } });
  const operator = new Operator(home, { RAILWAY_API_URL: api, RAILWAY_API_TOKEN: accountToken });
  const place = ["--project", "shop", "--environment", "production"];
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  /** The services of the project are the baseline's, somebody else's, and these deployments'. */
  const services = async (...ids: string[]): Promise<string> => {
    const expected = ["database", "pulse-env", "signalbox-runner", ...ids.map((id) => `${APP}-${id}`)].sort();
    await seen(
      `the project holds ${expected.join(", ")}`,
      () => state.serviceNames().join() === expected.join(),
    );
    return expected.join(", ");
  };

  const made = await operator.signalbox(
    "scaffold",
    ...place,
    "--server",
    origin,
    "--runner-image",
    RUNNER_IMAGE,
  );
  tell(`signalbox scaffold: the project had somebody's database in it, and now holds ${await services()}.`);
  const again = await operator.signalbox("ensure", ...place);
  check(again["changed"] === false, `ensure changed something: ${JSON.stringify(again["changes"])}`);
  tell("signalbox ensure: nothing to change.");

  // What `scaffold --apply` has wrangler do on Cloudflare.
  const secrets = JSON.parse(await readFile(String(made["secretsFile"]), "utf8")) as Record<string, string>;
  const settings = readSettings({
    PORT: String(port),
    SIGNALBOX_HOME: join(home, ".signalbox"),
    SIGNALBOX_DEMO: "0",
  });
  stack = await startStack(settings, secrets, "ignore", {
    ...secrets,
    RAILWAY_TOKEN: projectToken,
    RAILWAY_API_URL: api,
  });
  const { control } = stack;
  await seen("the runner on Railway is online", async () =>
    JSON.stringify(await operator.signalbox("runners")).includes('"state":"online"'),
  );
  tell(
    "The Worker starts with the secrets that scaffold made, and the runner on Railway has dialled out to it.",
  );

  await control.call("PUT", `/apps/${APP}`, {
    // Railway asks its health path then, also before a redeploy takes over.
    contract: "pulse",
    default: true,
    drainTtlSeconds: DRAIN_SECONDS,
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 1,
  });
  const deploy = async (id: string, ...source: string[]): Promise<void> => {
    const target = ["--target", "railway", ...place];
    const { state } = await operator.signalbox("deploy", ...source, "--app", APP, "--id", id, ...target);
    check(state === "active", `${id} is ${String(state)}`);
  };
  const serves = async (id: string): Promise<void> => {
    await seen(`new visitors get ${id}`, async () => (await selected(origin)) === id);
  };
  const visit = async (): Promise<Visitor> => {
    const visitor = await Visitor.open(origin);
    visitors.push(visitor);
    return visitor;
  };
  const counting = async (visitor: Visitor, version: string): Promise<void> => {
    const from = visitor.count;
    await seen("the page keeps counting", () => visitor.count > from + 1);
    check(visitor.version === version && visitor.reloads === 0, `the page left ${version}`);
    tell(`The page opened on ${version} is still on ${version}, and counts: ${visitor.count}.`);
  };

  await deploy("v1", "--image", APP_IMAGE);
  await serves("v1");
  tell(
    `signalbox deploy --image: v1 is a service of its own, verified and promoted. ${await services("v1")}.`,
  );
  const direct = await fetch(`http://${state.instance(`${APP}-v1`)?.domains[0]?.domain ?? ""}/`);
  await direct.text();
  check(direct.status >= 400, `v1 answered ${direct.status} to somebody who came past the edge`);
  tell(`Who comes past the edge, to v1's own public domain, is turned away: ${direct.status}.`);
  const anna = await visit();
  await counting(anna, "v1");

  await deploy("v2", join(projectRoot, "examples/live-counter"));
  await serves("v2");
  tell(
    `signalbox deploy examples/live-counter: packed, uploaded, built on Railway, promoted. ${await services("v1", "v2")}.`,
  );
  await counting(anna, "v1");
  const ben = await visit();
  check(ben.version === "v2", `a new visitor got ${ben.version}`);
  tell("A new visitor gets v2.");

  await operator.signalbox("rollback", "--app", APP);
  await serves("v1");
  tell("signalbox rollback: new visitors get v1 again; v2 drains.");
  await counting(anna, "v1");
  await counting(ben, "v2");
  anna.close();

  const before = state.deployments(`${APP}-v1`).length;
  const watch = watchVisitors(origin);
  await operator.signalbox("redeploy", "--app", APP);
  check(state.deployments(`${APP}-v1`).length === before + 1, "Railway wasn't asked exactly once");
  await seen(
    "the former instance of v1 is gone",
    () => state.deployments(`${APP}-v1`)[1]?.status === "REMOVED",
  );
  const answers = await watch();
  tell(`signalbox redeploy: v1 was built again in place. ${answers} requests meanwhile, all answered.`);

  await seen("the old page is told to reload", () => ben.reloads > 0);
  await seen("it reloads into the active version", () => ben.version === "v1");
  await control.until(APP, "v2", ["removed"], STEP_TIMEOUT_MS);
  tell(
    `v2's drain deadline passes: its page is told to reload and comes back on v1. ${await services("v1")}.`,
  );

  await deploy("v3", "--image", APP_IMAGE);
  await serves("v3");
  await operator.signalbox("delete", "v1", "--app", APP, "--wait", "--yes");
  tell(`v3 takes over, and signalbox delete takes v1 away. ${await services("v3")}.`);
  const running = state.processes().map(({ service }) => service ?? "nobody's");
  check(running.sort().join() === `${APP}-v3,signalbox-runner`, `these run: ${running.join()}`);
  check(state.variables("database")["OWNER"] === "somebody else", "somebody else's service was changed");
  tell("Only v3 and the runner run; what somebody else has in the project is as it was.");
}

async function selected(origin: string): Promise<string | null> {
  const response = await fetch(origin);
  await response.text();
  check(response.status === 200 || response.status === 404, `a visitor got ${response.status}`);
  return response.headers.get("x-pulse-selected-deployment");
}

/** Visits again and again until the function is called, which answers how often; throws if one wasn't served. */
function watchVisitors(origin: string): () => Promise<number> {
  const leaving = new AbortController();
  const visits = (async () => {
    let count = 0;
    for (; !leaving.signal.aborted; count += 1) {
      check((await selected(origin)) === "v1", "a visitor wasn't served by v1");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return count;
  })();
  // Whoever asks for the count gets the failure.
  visits.catch(() => undefined);
  return () => {
    leaving.abort();
    return visits;
  };
}
