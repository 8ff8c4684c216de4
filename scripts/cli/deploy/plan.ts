import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { z } from "zod";
import { SLUG_PATTERN } from "../../../functions/protocol/limits.ts";
import { parseUserJson } from "../../../functions/protocol/user-json.ts";
import type { AppBody } from "../../client/control-types.ts";
import type { LoadedConfig } from "../config-file.ts";
import type { Config } from "../config-schema.ts";
import type { Decision } from "../detect/detect.ts";
import { serveCommand } from "../detect/static-files.ts";
import { Failure } from "../failure.ts";
import { commandsFor, lookAt } from "./project.ts";

/** What is to be deployed, from flags and configuration. */
export interface Plan {
  app: string;
  /** What of the app's configuration is named here; the rest stays as it is. */
  appConfig: Pick<AppBody, "contract" | "hosts" | "healthPath">;
  name: string;
  id: string | undefined;
  promote: boolean;
  target: TargetPlan;
  /** What wasn't given and was concluded from the files. */
  decisions: Decision[];
}

const RUNNER_SETTINGS = ["install", "build", "env", "healthPath", "host"] as const;
type RunnerSetting = (typeof RUNNER_SETTINGS)[number];

export type TargetPlan =
  | { kind: "url"; url: string; settings: Pick<Config, "host"> }
  | {
      kind: "runner";
      source: SourcePlan;
      runnerId: string | undefined;
      labels: Record<string, string>;
      start: string;
      settings: Pick<Config, RunnerSetting>;
    }
  | {
      kind: "railway";
      /** What Railway builds; with a source it is uploaded. */
      from:
        | { image: string }
        | { repo: NonNullable<NonNullable<Config["railway"]>["repo"]> }
        | { source: SourcePlan };
      dockerfile: string | undefined;
      settings: Pick<Config, "start" | "build" | "env" | "healthPath" | "host">;
    };

export interface SourcePlan {
  /** What is packed. */
  directory: string;
  /** Run before, where the configuration is; then nothing above the directory says what to ignore. */
  prepare: { command: string; cwd: string; file: string } | null;
}

export interface DeployFlags {
  app: string | undefined;
  name: string | undefined;
  id: string | undefined;
  "no-promote": boolean;
  target: string | undefined;
  url: string | undefined;
  image: string | undefined;
  runner: string | undefined;
  label: string[];
  start: string | undefined;
  static: string | undefined;
  build: string | undefined;
  install: string | undefined;
  "health-path": string | undefined;
  env: string[];
  contract: string | undefined;
  host: string[];
}

/** `named`: the directory of the command line, if there was one. */
export function planDeployment(
  flags: Partial<DeployFlags>,
  loaded: LoadedConfig,
  named: string | null,
): Plan {
  const config = override(loaded.config, flags);
  const directory = named ?? loaded.directory;
  const source = (): SourcePlan => sourceOf(config, loaded, directory);
  const { contract, hosts, healthPath } = config;
  const { target, decisions } = targetOf(config, source);
  return {
    app: flags.app ?? config.app ?? nameOf(directory),
    appConfig: {
      ...(contract === undefined ? {} : { contract }),
      ...(hosts === undefined ? {} : { hosts }),
      ...(contract !== "pulse" && healthPath !== undefined ? { healthPath } : {}),
    },
    name: flags.name ?? config.deploymentName ?? "prod",
    id: flags.id,
    promote: flags["no-promote"] !== true,
    target,
    decisions,
  };
}

function override(config: Config, flags: Partial<DeployFlags>): Config {
  const given = {
    target: flags.target ?? (flags.url === undefined ? undefined : "url"),
    url: flags.url,
    runnerId: flags.runner,
    start: flags.start,
    static: flags.static,
    build: flags.build,
    install: flags.install,
    healthPath: flags["health-path"],
    contract: flags.contract,
    hosts: flags.host?.length ? flags.host : undefined,
    env: flags.env?.length ? { ...config.env, ...pairs("--env", flags.env) } : undefined,
    labels: flags.label?.length ? pairs("--label", flags.label) : undefined,
    railway:
      flags.image === undefined ? undefined : { ...config.railway, repo: undefined, image: flags.image },
  };
  if (flags.start !== undefined && flags.static !== undefined) {
    throw new Failure(
      "usage",
      "wrong_usage",
      "--start and --static are two answers to one question: give one of them.",
    );
  }
  const named = Object.entries(given).filter(([, value]) => value !== undefined);
  const { start, static: directory, ...rest } = config;
  const base =
    flags.start !== undefined || flags.static !== undefined ? rest : { ...rest, start, static: directory };
  return { ...base, ...(Object.fromEntries(named) as Partial<Config>) };
}

/** A target, and how it came to be. */
interface Planned {
  target: TargetPlan;
  decisions: Decision[];
}

function targetOf(config: Config, source: () => SourcePlan): Planned {
  const kind = config.target ?? "runner";
  if (config.host === (kind === "runner" ? "own" : "local")) {
    const other = kind === "runner" ? "local" : "own";
    throw new Failure(
      "config",
      "bad_config",
      `host ${config.host} isn't for target ${kind}: write ${other}, or leave it out.`,
    );
  }
  const nothing = { decisions: [] };
  switch (kind) {
    case "url":
      if (config.url === undefined) {
        throw new Failure(
          "config",
          "no_url",
          "Target url needs the backend's address: --url, or `url` in signalbox.json.",
        );
      }
      return { ...nothing, target: { kind: "url", url: config.url, settings: pick(config, ["host"]) } };
    case "runner":
      return runnerTarget(config, source());
    case "railway": {
      if (config.static !== undefined) {
        throw new Failure(
          "config",
          "bad_config",
          "`static` is for runners, which serve the files themselves: on Railway give a start command or a Dockerfile.",
        );
      }
      const { image, repo, dockerfile } = config.railway ?? {};
      const target: TargetPlan = {
        kind: "railway",
        from: image !== undefined ? { image } : repo !== undefined ? { repo } : { source: source() },
        dockerfile,
        settings: pick(config, ["start", "build", "env", "healthPath", "host"]),
      };
      return { ...nothing, target };
    }
  }
}

function runnerTarget(config: Config, source: SourcePlan): Planned {
  const target = {
    kind: "runner",
    source,
    runnerId: config.runnerId,
    labels: config.labels ?? {},
    settings: pick(config, RUNNER_SETTINGS),
  } as const;
  // What a local build leaves can't be looked at before it has run.
  if (source.prepare !== null) {
    return { target: { ...target, start: givenStart(config, source) }, decisions: [] };
  }
  const project = lookAt(source.directory, config.install !== undefined);
  const { decisions, ...commands } = commandsFor(project, config);
  const { install, build, start, env } = commands;
  const given = { ...target.settings, install, build, env: Object.keys(env).length === 0 ? undefined : env };
  const settings: Pick<Config, RunnerSetting> = pick(given, RUNNER_SETTINGS);
  return {
    target: { ...target, source: { ...source, directory: project.root }, start, settings },
    decisions,
  };
}

function givenStart({ start, static: directory }: Config, source: SourcePlan): string {
  if (start !== undefined) return start;
  if (directory !== undefined) return serveCommand({ directories: [directory] });
  throw new Failure(
    "config",
    "no_start",
    `Nothing says how to start the server in ${source.directory}, which \`prepare\` makes: give --start COMMAND, or ` +
      "--static DIR for files to serve (. for all of it), or the same in signalbox.json.",
  );
}

function sourceOf({ prepare }: Config, loaded: LoadedConfig, directory: string): SourcePlan {
  if (prepare === undefined) return { directory: resolve(directory), prepare: null };
  const output = resolve(loaded.directory, prepare.output);
  // Anything on this machine could be sent off otherwise, by a file that somebody else wrote.
  if (!isInside(loaded.directory, output)) {
    throw new Failure(
      "config",
      "bad_config",
      `${loaded.file ?? ""}: prepare.output ${JSON.stringify(prepare.output)} isn't in the directory of this file.`,
    );
  }
  return {
    directory: output,
    prepare: { command: prepare.command, cwd: loaded.directory, file: loaded.file ?? "" },
  };
}

function isInside(directory: string, path: string): boolean {
  const way = relative(real(directory), real(path));
  return !isAbsolute(way) && way.split(sep)[0] !== "..";
}

/** Without symbolic links, as far as it exists. */
function real(path: string): string {
  return existsSync(path) ? realpathSync(path) : join(real(dirname(path)), basename(path));
}

const manifest = z.object({ name: z.string().optional() });

function readManifest(directory: string): z.infer<typeof manifest> {
  const file = join(directory, "package.json");
  if (!existsSync(file)) return {};
  try {
    return manifest.parse(parseUserJson(readFileSync(file, "utf8")));
  } catch {
    return {}; // its own tools will say what is wrong with it
  }
}

/** An app's name from a package's or a directory's. */
export function nameOf(directory: string): string {
  for (const name of [readManifest(directory).name ?? "", basename(resolve(directory))]) {
    const slug = name
      .toLowerCase()
      .replace(/^@[^/]*\//, "")
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 63);
    if (SLUG_PATTERN.test(slug)) return slug;
  }
  throw new Failure("usage", "no_app_name", `${directory} doesn't make an app's name. Give one with --app.`);
}

function pairs(flag: string, given: string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1)
        throw new Failure("usage", "wrong_usage", `${flag} needs NAME=VALUE, not ${JSON.stringify(pair)}.`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(
    keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]]),
  ) as Pick<T, K>;
}
