import { REDIS_VARIABLE } from "../../../functions/railway/reserved.ts";
import { Failure } from "../failure.ts";
import type { FlagValues } from "../command.ts";
import type { CommandContext } from "../context.ts";
import { reconcileBaseline } from "./apply.ts";
import {
  existingParts,
  inspectBaseline,
  missingParts,
  refuseForeign,
  refuseReserved,
  type Baseline,
} from "./baseline.ts";
import { ownedDeployments } from "./owned.ts";
import { describeChange, planBaseline, type Change, type Wanted } from "./plan.ts";
import {
  installationOf,
  keepSecrets,
  readSecrets,
  secretNames,
  secretsFile,
  type InstallationSecrets,
} from "./secrets.ts";
import {
  baselineNames,
  placeChoice,
  wantedBaseline,
  type ofBaseline,
  type railwayPlace,
  agreeToBroker,
} from "./settings.ts";
import { resolvePlace } from "./place.ts";
import { openRailway, type RailwayAccess, type RailwayPlace } from "./token.ts";

/** A project and environment with what there is of the baseline. */
export interface OpenBaseline {
  railway: RailwayAccess;
  place: RailwayPlace;
  baseline: Baseline;
}

/** Finds token, project and environment, and looks at the baseline. Changes nothing. */
export async function openBaseline(
  context: CommandContext,
  flags: FlagValues<typeof railwayPlace>,
): Promise<OpenBaseline> {
  const { config } = context.config();
  const choice = placeChoice(flags, config);
  const names = baselineNames(config);
  const railway = await openRailway(flags.token, context.env);
  const place = await resolvePlace(railway, choice);
  return { railway, place, baseline: await inspectBaseline(railway.client, place, names) };
}

/** `project shop, environment production`, for messages. */
export function describePlace({ project, environment }: RailwayPlace): string {
  return `project ${project.name}, environment ${environment.name}`;
}

/**
 * What a deployment on Railway needs beforehand: the whole baseline, and no variable in the way. Creates nothing.
 * Throws {@link Failure}: `baseline_incomplete` (exit 8), `reserved_variable`, or what token and place are refused for.
 */
export async function requireBaseline(
  context: CommandContext,
  flags: FlagValues<typeof railwayPlace>,
): Promise<RailwayPlace> {
  const { place, baseline } = await openBaseline(context, flags);
  refuseIncomplete(place, baseline);
  refuseForeign(baseline);
  refuseReserved(baseline);
  return place;
}

export function refuseIncomplete(place: RailwayPlace, baseline: Baseline): void {
  const missing = missingParts(baseline);
  if (missing.length === 0) return;
  const existing = existingParts(baseline);
  const remedy =
    existing.length === 0
      ? "Make it with signalbox scaffold."
      : `There is: ${existing.join(", ")}. If a scaffold was interrupted, go on with signalbox scaffold --resume; ` +
        `else delete ${existing.join(" and ")} in Railway and run signalbox scaffold.`;
  throw new Failure(
    "incomplete",
    "baseline_incomplete",
    `The baseline in ${describePlace(place)} is incomplete. Missing: ${missing.join(", ")}. ${remedy}`,
  );
}

export interface Outcome {
  changes: Change[];
  secretsFile: string;
  /** Null: this machine doesn't have them, and none had to be made. */
  secrets: InstallationSecrets | null;
  redis: "upstash" | "external";
}

/**
 * Brings the baseline to what flags and signalbox.json want; with `--dry-run` only plans. Secrets are made where they
 * are missing: for a new installation all of them, for one that is there (`mend`) only the runner's.
 */
export async function updateBaseline(
  context: CommandContext,
  flags: FlagValues<typeof ofBaseline>,
  { railway, place, baseline }: OpenBaseline,
  purpose: "make" | "mend",
): Promise<Outcome> {
  if (!flags["dry-run"]) await agreeToBroker(context, flags);
  const wanted = wantedBaseline(context, flags);
  const { runner } = baseline;
  refuseForeign(baseline);
  refuseReserved(baseline);
  refuseRedisSwitch(baseline, wanted.redis);
  if (wanted.brokerUrl === null && runner?.variables["RUNNER_BROKER_URL"] === undefined) {
    throw new Failure(
      "usage",
      "no_server",
      "Which address will the Worker have? The runner connects there. Give --server https://…, or set server in signalbox.json.",
    );
  }
  const source = runner?.instance?.source ?? null;
  if (wanted.source === null && source?.image == null && source?.repo == null) {
    throw new Failure(
      "usage",
      "no_runner_source",
      "What does the runner service run? Give --runner-image or --runner-repo, or set railway.runnerImage or " +
        "railway.runnerRepo in signalbox.json. Its Dockerfile is in Signalbox's repository.",
    );
  }

  const file = secretsFile(place, context.env);
  const runnerSecret = runner?.variables["RUNNER_SHARED_SECRET"];
  const keep = !flags["dry-run"] && (purpose === "make" || runnerSecret === undefined);
  if (keep) await refuseOtherSecrets(context, file, baseline);
  const secrets = keep
    ? await keepSecrets(file, context.env, runnerSecret, workerSettings(place, baseline))
    : await readSecrets(file);
  const whole: Wanted = {
    ...wanted,
    // A dry run doesn't make the secrets that it says would be set.
    runnerSecret: secrets?.RUNNER_SHARED_SECRET ?? "",
    installation:
      secrets !== null
        ? installationOf(secrets.PULSE_RAILWAY_INTERNAL_TOKEN)
        : flags["dry-run"] && runner === null
          ? ""
          : null,
  };
  const owner = (whole.installation || null) ?? runner?.variables["SIGNALBOX_OWNER"] ?? null;
  const deployments = await ownedDeployments(railway.client, place, baseline, owner);
  const plan = (now: Baseline): Change[] => planBaseline(now, whole, deployments);
  const redis = modeOf(baseline, wanted.redis);
  if (flags["dry-run"]) return { changes: plan(baseline), secretsFile: file, secrets, redis };
  const changes = await reconcileBaseline({
    client: railway.client,
    place,
    baseline,
    plan,
    report: (change) => context.output.remark(describeChange(change)),
    signal: context.signal,
  });
  return { changes, secretsFile: file, secrets, redis };
}

/** Deployments are marked with a hash of the internal token: with a new one they would be nobody's. */
async function refuseOtherSecrets(
  context: CommandContext,
  file: string,
  { runner }: Baseline,
): Promise<void> {
  const owner = runner?.variables["SIGNALBOX_OWNER"];
  if (owner === undefined) return;
  const token =
    context.env["PULSE_RAILWAY_INTERNAL_TOKEN"] ?? (await readSecrets(file))?.PULSE_RAILWAY_INTERNAL_TOKEN;
  if (token !== undefined && installationOf(token) === owner) return;
  throw new Failure(
    "failed",
    "secrets_elsewhere",
    `This installation was begun with other secrets than those of this machine. Copy ${file} from where it was begun, or give ` +
      `${secretNames.join(", ")} in the environment. If they are lost, delete ${runner?.name ?? "the runner service"} ` +
      "in Railway and run signalbox scaffold --resume.",
  );
}

export function workerSettings({ project, environment }: RailwayPlace, { names }: Baseline) {
  return {
    RAILWAY_PROJECT_ID: project.id,
    RAILWAY_ENVIRONMENT_ID: environment.id,
    RAILWAY_ENV_SERVICE: names.envService,
  };
}

function modeOf({ env }: Baseline, wanted: Wanted["redis"]): "upstash" | "external" {
  if (env !== null) return env.variables[REDIS_VARIABLE] === undefined ? "upstash" : "external";
  return wanted?.mode ?? "upstash";
}

/** Sessions are kept in one place or the other: an installation stays with its own. */
function refuseRedisSwitch(baseline: Baseline, wanted: Wanted["redis"]): void {
  if (baseline.env === null || wanted === null) return;
  const mode = modeOf(baseline, wanted);
  if (mode === wanted.mode) return;
  throw new Failure(
    "failed",
    "redis_mode_differs",
    `This installation's Redis mode is ${mode}, and ${wanted.mode} was asked for. An existing installation isn't switched, since its ` +
      `sessions would be lost: ${mode === "external" ? "leave railway.redis out" : "leave the Redis address out"}, or make a new installation.`,
  );
}
