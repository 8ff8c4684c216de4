import type { Config } from "../config-schema.ts";
import { Failure } from "../failure.ts";
import type { Flags, FlagValues } from "../command.ts";
import { loginFile, readLogins } from "../login-file.ts";
import type { CommandContext } from "../context.ts";
import { isLoopback, originOf } from "../settings.ts";
import type { BaselineNames } from "./baseline.ts";
import type { Wanted } from "./plan.ts";
import { choosePlace, type PlaceChoice } from "./place.ts";

/** Commands that speak to Railway. */
export const railwayPlace = {
  token: {
    type: "string",
    value: "TOKEN",
    summary: "Railway's token; better in RAILWAY_TOKEN or RAILWAY_API_TOKEN",
  },
  workspace: {
    type: "string",
    value: "NAME",
    summary: "Railway workspace, where a project's name isn't enough",
  },
  "workspace-id": { type: "string", value: "ID", summary: "the same by its id" },
  project: { type: "string", value: "NAME", summary: "Railway project" },
  "project-id": { type: "string", value: "ID", summary: "the same by its id" },
  environment: { type: "string", value: "NAME", summary: "environment of the project" },
  "environment-id": { type: "string", value: "ID", summary: "the same by its id" },
} satisfies Flags;

/** Commands that make or mend the baseline. */
export const ofBaseline = {
  ...railwayPlace,
  server: {
    type: "string",
    value: "URL",
    summary: "address that the Worker has or will have; the runner connects there",
  },
  "runner-image": { type: "string", value: "IMAGE", summary: "image of the runner service" },
  "runner-repo": {
    type: "string",
    value: "OWNER/NAME",
    summary: "repository that the runner is built from instead",
  },
  "redis-url": {
    type: "string",
    value: "URL",
    summary: "Redis for backends; better in PULSE_RAILWAY_REDIS_URL. Without it: mode upstash",
  },
  "dry-run": { type: "boolean", summary: "only say what would be done" },
} satisfies Flags;

type PlaceFlags = FlagValues<typeof railwayPlace>;
type BaselineFlags = FlagValues<typeof ofBaseline>;

export function placeChoice(flags: PlaceFlags, { railway = {} }: Config): PlaceChoice {
  return choosePlace(
    {
      workspace: flags.workspace,
      workspaceId: flags["workspace-id"],
      project: flags.project,
      projectId: flags["project-id"],
      environment: flags.environment,
      environmentId: flags["environment-id"],
    },
    railway,
  );
}

export function baselineNames({ railway = {} }: Config): BaselineNames {
  const names = {
    envService: railway.envService ?? "pulse-env",
    runnerService: railway.runnerService ?? "signalbox-runner",
  };
  if (names.envService !== names.runnerService) return names;
  throw new Failure(
    "config",
    "bad_config",
    "signalbox.json: railway.envService and railway.runnerService are the same. Each needs a name of its own.",
  );
}

/** What flags, environment and signalbox.json want of the baseline; the secrets come later. */
export function wantedBaseline(
  context: CommandContext,
  flags: BaselineFlags,
): Omit<Wanted, "runnerSecret" | "installation"> & { server: string | null } {
  const { config } = context.config();
  const server = serverOf(context, flags);
  return {
    server,
    brokerUrl: server === null ? null : `${server.replace(/^http/, "ws")}/_signalbox/socket`,
    source: runnerSource(flags, config),
    redis: redisMode(context, flags, config),
  };
}

/** The server of a configuration file gets the runner's secret, as one of a flag does: that has to be agreed to. */
export async function agreeToBroker(
  context: CommandContext,
  flags: { server: string | undefined },
): Promise<void> {
  const { config, file } = context.config();
  if (flags.server || context.env["SIGNALBOX_URL"] || config.server === undefined || file === null) return;
  const value = originOf({ value: config.server, from: file });
  const { servers } = await readLogins(loginFile(context.env));
  if (servers[value] === undefined) await context.agreeToServer({ kind: "server", file, value });
}

/** Never the local stack: Railway can't reach that. */
export function serverOf(context: CommandContext, flags: { server: string | undefined }): string | null {
  const { config, file } = context.config();
  const from: [string | undefined, string][] = [
    [flags.server, "--server"],
    [context.env["SIGNALBOX_URL"], "SIGNALBOX_URL"],
    [config.server, file ?? ""],
  ];
  const found = from.find(([value]) => value !== undefined && value !== "");
  if (found === undefined) return null;
  const server = originOf({ value: found[0] ?? "", from: found[1] });
  if (server.startsWith("http:") && !isLoopback(server)) {
    throw new Failure(
      "usage",
      "bad_server",
      `${found[1]}: the runner's secret must not cross the internet in clear. Give an https:// address.`,
    );
  }
  return server;
}

function runnerSource(flags: BaselineFlags, { railway = {} }: Config): Wanted["source"] {
  const image = flags["runner-image"];
  const repo = flags["runner-repo"];
  if (image !== undefined && repo !== undefined)
    throw new Failure("usage", "wrong_usage", "Give --runner-image or --runner-repo, not both.");
  if (repo !== undefined && !/^[\w.-]+\/[\w.-]+$/.test(repo))
    throw new Failure("usage", "wrong_usage", `--runner-repo: ${JSON.stringify(repo)} isn't owner/name.`);
  if (image !== undefined) return { image };
  if (repo !== undefined) return { repo };
  if (railway.runnerImage !== undefined) return { image: railway.runnerImage };
  const { runnerRepo } = railway;
  if (runnerRepo === undefined) return null;
  return { repo: runnerRepo.repo, ...(runnerRepo.branch === undefined ? {} : { branch: runnerRepo.branch }) };
}

function redisMode(context: CommandContext, flags: BaselineFlags, { railway = {} }: Config): Wanted["redis"] {
  const url = flags["redis-url"] ?? context.env["PULSE_RAILWAY_REDIS_URL"];
  if (url !== undefined && url !== "") {
    if (!/^rediss?:\/\/./.test(url)) {
      const from = flags["redis-url"] === undefined ? "PULSE_RAILWAY_REDIS_URL" : "--redis-url";
      throw new Failure("usage", "bad_redis_url", `${from} must be an address like redis://host:6379.`);
    }
    return { mode: "external", url };
  }
  if (railway.redis === undefined) return null;
  return railway.redis === "upstash" ? { mode: "upstash" } : { mode: "external", url: railway.redis };
}
