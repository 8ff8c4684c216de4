import { REDIS_VARIABLE } from "../../../functions/railway/reserved.ts";
import type { FlagValues } from "../command.ts";
import type { Config } from "../config-schema.ts";
import {
  BASELINE_MARK,
  inspectBaseline,
  missingParts,
  refuseForeign,
  reservedVariables,
  RUNNER_MARK,
  type Baseline,
} from "../railway/baseline.ts";
import { describeChange, planBaseline, runnerIdOf } from "../railway/plan.ts";
import { visibleProjects } from "../railway/projects.ts";
import { baselineNames, railwayPlace, placeChoice } from "../railway/settings.ts";
import { describePlace, refuseIncomplete } from "../railway/update-baseline.ts";
import { resolvePlace } from "../railway/place.ts";
import { openRailway, type RailwayAccess, type RailwayPlace } from "../railway/token.ts";
import { listSecrets, workerConfiguredAt } from "../railway/wrangler.ts";
import { secretNames } from "../railway/secrets.ts";
import type { CommandContext } from "../context.ts";
import { note, ok, whyNot, wrong, type Check } from "./check.ts";

type PlaceFlags = FlagValues<typeof railwayPlace>;
const names = Object.keys(railwayPlace) as (keyof PlaceFlags)[];

/** Railway: the token, where it leads, and what stands there. Nothing for who doesn't use Railway. */
export async function* railwayChecks(context: CommandContext, flags: PlaceFlags): AsyncGenerator<Check> {
  let config: Config;
  try {
    config = context.config().config;
  } catch {
    return; // told already, with the file
  }
  const tokens = [context.env["RAILWAY_TOKEN"], context.env["RAILWAY_API_TOKEN"]];
  const used =
    config.railway !== undefined ||
    config.target === "railway" ||
    names.some((name) => flags[name] !== undefined) ||
    tokens.some((token) => token !== undefined && token !== "");
  if (!used) return;

  let railway: RailwayAccess;
  let target: RailwayPlace;
  try {
    railway = await openRailway(flags.token, context.env);
    const kind = railway.scope === null ? "an account's or workspace's" : "a project's";
    const reach = (await visibleProjects(railway, null)).map(({ name }) => name);
    yield reach.length === 0
      ? wrong("railway token", `${kind}, from ${railway.from}, sees no project`, "Use one that may see it.")
      : ok("railway token", `${kind}, from ${railway.from}; sees ${reach.join(", ")}`);
  } catch (error) {
    yield wrong(
      "railway token",
      whyNot(error),
      "Make one in Railway's settings; `railway login` does as well.",
    );
    return;
  }
  try {
    target = await resolvePlace(railway, placeChoice(flags, config));
    yield ok("railway target", describePlace(target));
  } catch (error) {
    yield wrong("railway target", whyNot(error), "signalbox railway projects lists what the token sees.");
    return;
  }
  let baseline: Baseline;
  try {
    baseline = await inspectBaseline(railway.client, target, baselineNames(config));
  } catch (error) {
    yield wrong("baseline", whyNot(error), "signalbox doctor looks again.");
    return;
  }
  yield* baselineChecks(target, baseline);
  yield* connectionChecks(context, baseline);
  yield* workerChecks(context);
}

function* baselineChecks(target: RailwayPlace, baseline: Baseline): Generator<Check> {
  const { names, env, runner } = baseline;
  try {
    refuseIncomplete(target, baseline);
  } catch (error) {
    yield wrong("baseline", whyNot(error), `Missing: ${missingParts(baseline).join(", ")}.`);
  }
  if (env !== null) {
    const reserved = reservedVariables(baseline);
    const mode = env.variables[REDIS_VARIABLE] === undefined ? "upstash" : "external";
    yield reserved.length > 0
      ? wrong(
          "env service",
          `${names.envService} has ${reserved.join(", ")}, which Signalbox sets itself`,
          `Remove ${reserved.length === 1 ? "it" : "them"} in Railway.`,
        )
      : ok("env service", `${names.envService}; Redis mode ${mode}`);
  }
  if (runner === null || runner.instance === null) return;
  yield runnerCheck(baseline, runner.instance.latestDeployment?.status ?? null);
}

const BROKEN = new Set(["FAILED", "CRASHED", "REMOVED", "NEEDS_APPROVAL", "SKIPPED"]);

function runnerCheck(baseline: Baseline, status: string | null): Check {
  const { runner, names } = baseline;
  const name = names.runnerService;
  const variables = runner?.variables ?? {};
  try {
    refuseForeign(baseline);
  } catch (error) {
    return wrong("runner service", whyNot(error), `${BASELINE_MARK}=${RUNNER_MARK} on it hands it over.`);
  }
  for (const needed of ["RUNNER_BROKER_URL", "RUNNER_SHARED_SECRET"]) {
    if (variables[needed] === undefined)
      return wrong("runner service", `${name} has no ${needed}`, "signalbox ensure --server URL sets it.");
  }
  const { HEALTH_PORT: healthPort, PORT: port } = variables;
  if (healthPort !== undefined && healthPort !== port) {
    return wrong(
      "runner service",
      `${name} answers health checks on HEALTH_PORT, and Railway asks PORT`,
      "Remove HEALTH_PORT there.",
    );
  }
  const wanted = { brokerUrl: null, runnerSecret: null, source: null, redis: null, installation: null };
  const drift = planBaseline(baseline, wanted).map(describeChange);
  if (drift.length > 0)
    return wrong(
      "runner service",
      `${name} isn't as it should be: ${drift.join("; ")}`,
      "signalbox ensure does that.",
    );
  if (status !== null && BROKEN.has(status))
    return wrong("runner service", `${name}'s deployment is ${status}`, "Railway shows its logs.");
  return ok("runner service", `${name}, deployment ${status ?? "none"}`);
}

/** Only a runner with the Worker's own secret is ever online. */
async function* connectionChecks(
  context: CommandContext,
  { runner, names }: Baseline,
): AsyncGenerator<Check> {
  const broker = runner?.variables["RUNNER_BROKER_URL"];
  if (broker === undefined || runner === null) return;
  const id = runnerIdOf(names.runnerService);
  try {
    const { server } = await context.connection();
    const there = URL.parse(broker)?.host;
    if (there !== new URL(server.value).host) {
      yield note("runner", `${id} connects to ${there ?? "nowhere"}, and this is about ${server.value}`);
      return;
    }
    const known = (await (await context.control()).runners()).find((one) => one.id === id);
    yield known?.state === "online"
      ? ok("runner", `${id} is online`)
      : wrong(
          "runner",
          `${id} is ${known?.state ?? "unknown to the Worker"}`,
          "Its RUNNER_SHARED_SECRET must be the Worker's. Railway shows its logs.",
        );
  } catch (error) {
    yield note("runner", `can't be asked for: ${whyNot(error)}`);
  }
}

/** The names of the Worker's secrets, as wrangler lists them, where this directory holds the Worker. */
async function* workerChecks(context: CommandContext): AsyncGenerator<Check> {
  const directory = workerConfiguredAt(context.cwd);
  if (directory === null) return;
  let there: string[];
  try {
    const run = { directory, env: context.env, signal: context.signal, output: () => undefined };
    there = await listSecrets(run);
  } catch (error) {
    yield note("worker", `its secrets can't be listed: ${whyNot(error)}`);
    return;
  }
  const missing = secretNames.filter((name) => !there.includes(name));
  if (!there.includes("RAILWAY_TOKEN") && !there.includes("RAILWAY_API_TOKEN")) missing.push("RAILWAY_TOKEN");
  if (there.includes("RAILWAY_API_TOKEN") && !there.includes("RAILWAY_TOKEN")) {
    const needed = ["RAILWAY_PROJECT_ID", "RAILWAY_ENVIRONMENT_ID"];
    missing.push(...needed.filter((name) => !there.includes(name)));
  }
  yield missing.length === 0
    ? ok("worker", `has ${there.length} secrets, all that Railway needs among them`)
    : wrong("worker", `lacks ${missing.join(", ")}`, "npx wrangler secret put NAME, for each.");
}
