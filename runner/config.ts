// Over 400 lines on purpose: every setting of a runner, with how it is read and checked, in one place.

import { homedir, hostname } from "node:os";
import { isAbsolute, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type CleanupPolicy, cleanupPolicy } from "./cleanup/policy.ts";
import { type AgentSettings, parseAgents, vendorVariables } from "./builds/agents.ts";
import type { BuildLimits } from "./builds/limits.ts";
import { confinementLevels } from "../functions/protocol/runner-api.ts";
import { confinementSettings, type ConfinementSettings, GUEST_USERS } from "./confinement/settings.ts";
import type { UserRange } from "./confinement/guest-users.ts";
import { type GitProtocol, gitProtocols, type GitSettings, gitSettings } from "./git/remote.ts";
import { parseSentryDsn } from "../functions/protocol/telemetry/sentry.ts";
import { parseTracing, type TracingSettings } from "../functions/protocol/telemetry/spans.ts";
import { hasCredential } from "./connection/credential-file.ts";
import { RUNNER_LABELS_LIMIT, RUNNER_STATUS_INTERVAL_MS } from "../functions/protocol/limits.ts";
import type { GuestLimits } from "./shares/guest-limits.ts";

export interface RunnerConfig {
  runnerId: string;
  /** Null: the runner has a credential of its own. */
  sharedSecret: string | null;
  /** Whether it may get one. */
  enrols: boolean;
  brokerUrl: URL;
  apiBaseUrl: string;
  /** Null: nobody but the hub gets events. */
  webhook: { baseUrl: string; secret: string } | null;
  workspaceRoot: string;
  healthPort: number;
  /** A laptop's runner listens for health checks only when it was given a port. */
  healthServer: boolean;
  /** Plain logs, no terminal status. */
  serviceMode: boolean;
  heartbeatIntervalMs: number;
  drainTimeoutMs: number;
  /** What a deployment can ask of its runner. */
  labels: Record<string, string>;
  /** What everything in the workspace may occupy; null: the file system is the limit. */
  diskQuotaBytes: number | null;
  /** Variables of its own that hosted processes get as they are. */
  inheritEnvironment: string[];
  /** What one deployment may take; what isn't set has a default. */
  guestLimits: Partial<GuestLimits>;
  confinement: ConfinementSettings;
  git: GitSettings;
  /** Null: the default. */
  devServerIdleMs: number | null;
  agents: AgentSettings;
  /** What one build may take; what isn't set has a default. */
  buildLimits: Partial<BuildLimits>;
  packageCache: boolean;
  /** What is deleted by itself. */
  cleanup: CleanupPolicy;
  anthropicApiKey: string | null;
  debugBuild: boolean;
  /** Null: no spans are made. */
  tracing: TracingSettings | null;
  sentry: { dsn: URL; environment: string | null; release: string | null } | null;
}

/** Settings that are wrong or missing. The message names each of them. */
export class SettingError extends Error {
  override name = "SettingError";
}

export type Invocation =
  | { kind: "run"; config: RunnerConfig }
  | { kind: "cleanup"; workspaceRoot: string; dryRun: boolean; json: boolean }
  | { kind: "agents"; agents: AgentSettings; json: boolean }
  | { kind: "static"; args: string[] }
  | { kind: "template-agent" }
  | { kind: "relay"; args: string[] }
  | { kind: "help" | "version" };

interface Setting {
  env: readonly [string, ...string[]];
  about: string;
  /** The shared secret is, too, until the runner has a credential. */
  required?: true;
}

function defaultOf(limit: number | null): string {
  return limit === null ? "no limit" : String(limit);
}

/** Every setting: its flag is its name here, and a flag wins over the environment. */
const settings = {
  runnerId: { env: ["RUNNER_ID", "RAILWAY_REPLICA_ID"], about: "this runner's id (runner-<hostname>)" },
  sharedSecret: {
    env: ["RUNNER_SHARED_SECRET"],
    about: "what the edge or broker knows it by; not needed once the runner has enrolled",
  },
  enrol: { env: ["RUNNER_ENROL"], about: "0: never get a credential of its own (1)" },
  brokerUrl: {
    env: ["RUNNER_BROKER_URL", "RUNNER_WS_URL"],
    about: "where it connects, ws:// or wss://",
    required: true,
  },
  apiBaseUrl: {
    env: ["API_BASE_URL"],
    about: "the web API (the broker's origin); one of its own gets all events as POST /api/runner/events",
  },
  webhookSecret: {
    env: ["RUNNER_WEBHOOK_SECRET"],
    about: "the Bearer of these events (RUNNER_SHARED_SECRET)",
  },
  workspaceRoot: {
    env: ["WORKSPACE_ROOT"],
    about: "where projects live (~/signalbox-workspace; on Railway /data/workspace)",
  },
  healthPort: { env: ["HEALTH_PORT"], about: "port of /health and /ready (8080)" },
  heartbeatInterval: {
    env: ["RUNNER_HEARTBEAT_INTERVAL"],
    about: `milliseconds between heartbeats (${RUNNER_STATUS_INTERVAL_MS})`,
  },
  drainTimeout: {
    env: ["RUNNER_DRAIN_TIMEOUT"],
    about: "milliseconds that running work gets after SIGTERM (45000)",
  },
  labels: { env: ["RUNNER_LABELS"], about: "what deployments can ask for: region=eu,gpu=yes" },
  diskQuota: {
    env: ["WORKSPACE_QUOTA_BYTES"],
    about: "bytes that the workspace may occupy (what the file system has)",
  },
  guestDisk: {
    env: ["RUNNER_GUEST_DISK"],
    about: "bytes that a deployment's files may occupy (10737418240); 0: no limit",
  },
  guestInodes: {
    env: ["RUNNER_GUEST_INODES"],
    about: "files and directories that a deployment may have (1000000); 0: no limit",
  },
  guestLog: { env: ["RUNNER_GUEST_LOG"], about: "bytes of a deployment's log (5242880)" },
  guestMemory: {
    env: ["RUNNER_GUEST_MEMORY"],
    about: "bytes of memory that a deployment may take (three quarters of what there is); 0: no limit",
  },
  guestProcesses: {
    env: ["RUNNER_GUEST_PROCESSES"],
    about: "processes and threads that a deployment may have (4096); 0: no limit",
  },
  inheritEnvironment: {
    env: ["RUNNER_INHERIT_ENV"],
    about: "variables that hosted processes get as they are: HTTPS_PROXY,npm_config_registry",
  },
  confinement: {
    env: ["RUNNER_CONFINEMENT"],
    about: "what guests are kept in: sandbox, user or none (auto, the strongest that this host offers)",
  },
  guestNetwork: {
    env: ["RUNNER_GUEST_NETWORK"],
    about:
      "hosts that guests reach, in a sandbox: example.com,*.npmjs.org (open: all; shared: this machine's network)",
  },
  guestPorts: {
    env: ["RUNNER_GUEST_PORTS"],
    about: "ports of this machine's loopback that guests in a sandbox reach: 5432,6379",
  },
  guestPaths: {
    env: ["RUNNER_GUEST_PATHS"],
    about: "what guests in a sandbox may read besides the system: /srv/models,/data/fonts",
  },
  guestUsers: {
    env: ["RUNNER_GUEST_USERS"],
    about: `numbers of the users and groups that guests get when the runner is root (${GUEST_USERS.first}-${GUEST_USERS.last})`,
  },
  agent: {
    env: ["RUNNER_AGENT"],
    about: "the coding agent: template (built in), claude, codex, gemini, opencode, copilot, or a command",
  },
  gitProtocols: {
    env: ["RUNNER_GIT_PROTOCOLS"],
    about: `how projects reach git remotes: ${gitProtocols.join(",")} (https)`,
  },
  gitTokens: {
    env: ["RUNNER_GIT_TOKENS"],
    about: "logins for git remotes by host: github.com=TOKEN,git.example.com=USER:TOKEN",
  },
  devServerIdle: {
    env: ["RUNNER_DEV_SERVER_IDLE"],
    about: "milliseconds without visitors after which a project's dev server stops (1800000)",
  },
  githubUrl: {
    env: ["RUNNER_GITHUB_URL"],
    about: "where SentryVibe's OWNER/NAME is (https://github.com)",
  },
  agents: {
    env: ["RUNNER_AGENTS"],
    about: 'further agents, or other settings of the known ones: {"NAME":{"command":"…"}}',
  },
  buildTime: { env: ["RUNNER_BUILD_TIME"], about: "seconds that a build may run (7200); 0: no limit" },
  buildSilence: {
    env: ["RUNNER_BUILD_SILENCE"],
    about: "seconds without a word of an agent after which its build fails (900); 0: no limit",
  },
  buildTurns: {
    env: ["RUNNER_BUILD_TURNS"],
    about: "prompts that a build gives its agent, with repairs (4); 0: no limit",
  },
  buildOutput: {
    env: ["RUNNER_BUILD_OUTPUT"],
    about: "bytes that an agent may say in a build (67108864); 0: no limit",
  },
  buildCost: {
    env: ["RUNNER_BUILD_COST"],
    about: "what a build may cost, in the currency that its agent counts in: 2.50 (no limit)",
  },
  packageCache: {
    env: ["RUNNER_PACKAGE_CACHE"],
    about: "0: package managers of projects go to the registry by themselves, past the runner's cache (1)",
  },
  cleanupCachesAge: {
    env: ["RUNNER_CLEANUP_CACHES_AGE"],
    about: `seconds after which an unused project's packages and caches go (${defaultOf(cleanupPolicy.caches.ageSeconds)}); 0: no limit`,
  },
  cleanupCachesCount: {
    env: ["RUNNER_CLEANUP_CACHES_COUNT"],
    about: "idle projects that keep their packages and caches (no limit)",
  },
  cleanupCachesSize: {
    env: ["RUNNER_CLEANUP_CACHES_SIZE"],
    about: `bytes that all projects' packages and caches may take (${defaultOf(cleanupPolicy.caches.bytes)}); 0: no limit`,
  },
  cleanupPackagesAge: {
    env: ["RUNNER_CLEANUP_PACKAGES_AGE"],
    about: `seconds after which an unused package leaves the shared cache (${defaultOf(cleanupPolicy.packages.ageSeconds)}); 0: no limit`,
  },
  cleanupPackagesSize: {
    env: ["RUNNER_CLEANUP_PACKAGES_SIZE"],
    about: `bytes of the package cache that projects share (${defaultOf(cleanupPolicy.packages.bytes)}); 0: no limit`,
  },
  cleanupProjectsAge: {
    env: ["RUNNER_CLEANUP_PROJECTS_AGE"],
    about: "seconds after which an unused project's files go, if its git remote has all of them (no limit)",
  },
  cleanupProjectsCount: {
    env: ["RUNNER_CLEANUP_PROJECTS_COUNT"],
    about: "projects that keep their files; the longest unused go first (no limit)",
  },
  cleanupProjectsSize: {
    env: ["RUNNER_CLEANUP_PROJECTS_SIZE"],
    about: "bytes that all projects' files may take; caches go first (no limit)",
  },
  anthropicApiKey: { env: ["ANTHROPIC_API_KEY"], about: "for agents that need it" },
  debugBuild: { env: ["DEBUG_BUILD"], about: "1: verbose logs" },
  otlpEndpoint: {
    env: ["OTEL_EXPORTER_OTLP_ENDPOINT"],
    about: "where spans go, by OTLP/HTTP in JSON: http://127.0.0.1:4318",
  },
  otlpHeaders: { env: ["OTEL_EXPORTER_OTLP_HEADERS"], about: "what goes along: name=value,name=value" },
  tracesRatio: {
    env: ["OTEL_TRACES_SAMPLER_ARG"],
    about: "the share of new traces that is sampled, from 0 to 1 (1)",
  },
  sentryDsn: { env: ["SENTRY_DSN"], about: "where errors are reported" },
  sentryEnvironment: { env: ["SENTRY_ENVIRONMENT"], about: "the environment of these reports" },
  sentryRelease: { env: ["SENTRY_RELEASE"], about: "the release of these reports" },
} as const satisfies Record<string, Setting>;

/** Variables that no process of the runner's may get, unless RUNNER_INHERIT_ENV names them. Vendors' keys are, too. */
export const secretVariables: readonly string[] = [
  ...settings.sharedSecret.env,
  ...settings.webhookSecret.env,
  ...settings.anthropicApiKey.env,
  ...settings.gitTokens.env,
  ...settings.otlpHeaders.env,
  ...settings.sentryDsn.env,
];

type SettingName = keyof typeof settings;
const names = Object.keys(settings).filter((name): name is SettingName => name in settings);
const DEBUG_FLAG = "debugBuild" satisfies SettingName;

/** 45 s leave Railway's 60 s of draining time enough for an orderly end. */
const DRAIN_TIMEOUT_MS = 45_000;
const HEALTH_PORT = 8080;

/** Reads command line and environment. Throws {@link SettingError}, once, for everything that is wrong. */
export function readInvocation(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  isEnrolled: (workspaceRoot: string, runnerId: string) => boolean = hasCredential,
): Invocation {
  if (args[0] === "static") return { kind: "static", args: args.slice(1) };
  if (args[0] === "template-agent") return { kind: "template-agent" };
  // The command line's own door puts the word `runner` before.
  if (args[0] === "runner" && args[1] === "agents") return readAgentsInvocation(args.slice(2), env);
  if (args[0] === "relay") return { kind: "relay", args: args.slice(1) };
  if (args[0] === "cleanup") return readCleanupInvocation(args.slice(1), env);
  if (args[0] === "agents") return readAgentsInvocation(args.slice(1), env);
  const { values, positionals } = parseFlags(args);
  if (values["help"] === true) return { kind: "help" };
  if (values["version"] === true) return { kind: "version" };
  const [command = "runner", ...rest] = positionals;
  if (command !== "runner" || rest.length > 0)
    throw new SettingError(
      `Unknown command "${positionals.join(" ")}". There are "runner", "agents" and "cleanup"; see --help.`,
    );
  return { kind: "run", config: readConfig(values, env, isEnrolled) };
}

export function helpText(): string {
  const rows = names.map((name) => {
    const { env, about }: Setting = settings[name];
    return [`--${name}${name === DEBUG_FLAG ? "" : " …"}`, env.join(", "), about];
  });
  const width = (column: number): number => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  const lines = rows.map(
    ([flag = "", env = "", about = ""]) => `  ${flag.padEnd(width(0))}  ${env.padEnd(width(1))}  ${about}`,
  );
  return `Usage: signalbox runner [FLAGS], or signalbox-runner [FLAGS] where only the executable is

Holds workspaces and serves them through one outgoing connection.
Each flag has an environment variable; the flag wins.

${lines.join("\n")}
  --help, --version

signalbox-runner agents [--json]
  says for each coding agent whether it is installed, has its key, and what is missing

signalbox-runner cleanup [--dry-run] [--json]
  asks the runner of WORKSPACE_ROOT to delete what nobody has used for long, and says what it freed

signalbox-runner static DIR… [--spa] [--immutable DIR]…
  serves the first of these directories that has an index.html, on HOST and PORT: for deployments

NODE_ENV=production or RAILWAY_ENVIRONMENT makes it a service: health server, plain logs.`;
}

function readCleanupInvocation(args: readonly string[], env: NodeJS.ProcessEnv): Invocation {
  const known = ["--dry-run", "--dryRun", "--json"];
  const unknown = args.find((argument) => !known.includes(argument));
  if (unknown !== undefined) throw new SettingError(`cleanup takes --dry-run and --json, not ${unknown}.`);
  return {
    kind: "cleanup",
    workspaceRoot: resolve(given(env["WORKSPACE_ROOT"]) ?? defaultRoot(env)),
    dryRun: args.some((argument) => argument !== "--json"),
    json: args.includes("--json"),
  };
}

function defaultRoot(env: NodeJS.ProcessEnv): string {
  return given(env["RAILWAY_ENVIRONMENT"]) === null ? `${homedir()}/signalbox-workspace` : "/data/workspace";
}

function readAgentsInvocation(args: readonly string[], env: NodeJS.ProcessEnv): Invocation {
  const unknown = args.find((argument) => argument !== "--json");
  if (unknown !== undefined) throw new SettingError(`agents takes --json, not ${unknown}.`);
  const setting = given(env["RUNNER_AGENTS"]);
  const table = setting === null ? {} : parseAgents(setting);
  if (typeof table === "string") throw new SettingError(`RUNNER_AGENTS ${table}.`);
  return {
    kind: "agents",
    json: args.length > 0,
    agents: { chosen: given(env["RUNNER_AGENT"]), table, vendors: vendorsIn(env, table) },
  };
}

function vendorsIn(env: NodeJS.ProcessEnv, table: AgentSettings["table"]): Record<string, string> {
  const found = [...vendorVariables(table).keys()].map((name) => [name, given(env[name])] as const);
  return Object.fromEntries(found.filter((one): one is [string, string] => one[1] !== null));
}

function readConfig(
  flags: Flags,
  env: NodeJS.ProcessEnv,
  isEnrolled: (workspaceRoot: string, runnerId: string) => boolean,
): RunnerConfig {
  const problems: string[] = [];
  const railway = given(env["RAILWAY_ENVIRONMENT"]) !== null;
  const serviceMode = railway || env["NODE_ENV"] === "production";

  /** The value, and under which name the user gave it. */
  const read = (name: SettingName): { value: string; from: string } | null => {
    const flag = flags[name];
    if (flag !== undefined) return { value: flag === true ? "1" : String(flag), from: `--${name}` };
    for (const variable of settings[name].env) {
      const value = given(env[variable]);
      if (value !== null) return { value, from: variable };
    }
    return null;
  };
  const check = <T>(name: SettingName, parse: (value: string) => T | null, must: string): T | null => {
    const found = read(name);
    if (found === null) return null;
    const parsed = parse(found.value);
    if (parsed === null) problems.push(`${found.from} must be ${must}.`);
    return parsed;
  };

  const text = (name: SettingName): string | null => read(name)?.value ?? null;
  const runnerId =
    check("runnerId", id, "up to 128 letters, digits, dots, dashes and underscores") ??
    `runner-${hostname().replace(/[^A-Za-z0-9._-]/g, "-")}`;
  const workspaceRoot = resolve(text("workspaceRoot") ?? defaultRoot(env));
  const needed = (name: SettingName): boolean =>
    name === "sharedSecret" ? !isEnrolled(workspaceRoot, runnerId) : "required" in settings[name];
  const missing = names.filter((name) => needed(name) && read(name) === null);
  if (missing.length > 0) {
    const list = missing.map(
      (name) => `${settings[name].env.join(" (or ")}${settings[name].env[1] ? ")" : ""}`,
    );
    problems.push(`Missing: ${list.join(", ")}. Set each in the environment or by its flag; see --help.`);
  }
  const wholeNumber = (least: number, most: number) => (value: string) => integer(value, least, most);

  const brokerUrl = check("brokerUrl", webSocketUrl, "a ws:// or wss:// URL without user name or fragment");
  const sharedSecret = check("sharedSecret", headerValue, "printable ASCII without spaces around it");
  const apiBaseUrl = check("apiBaseUrl", httpUrl, "an http:// or https:// URL");
  // Railway's health checks come to PORT unless the service says otherwise.
  const railwayPort = railway ? integer(env["PORT"] ?? "", 1, 65_535) : null;
  const healthPort = check("healthPort", wholeNumber(0, 65_535), "a number from 0 to 65535");
  const heartbeat = check("heartbeatInterval", wholeNumber(1_000, 60_000), "a number from 1000 to 60000");
  const drain = check("drainTimeout", wholeNumber(0, 3_600_000), "a number from 0 to 3600000");
  const labels = check(
    "labels",
    labelsOf,
    `a list such as region=eu,gpu=yes, of at most ${RUNNER_LABELS_LIMIT}`,
  );
  const idle = check("devServerIdle", wholeNumber(1_000, 1e9), "a number from 1000 to 1000000000");
  const quota = check("diskQuota", wholeNumber(50_000_000, 1e15), "bytes from 50000000 up");
  /** 0: none. */
  const limit = (least: number) => (value: string) =>
    value === "0" ? 0 : integer(value, least, Number.MAX_SAFE_INTEGER);
  const guestDisk = check("guestDisk", limit(10_000_000), "bytes from 10000000 up, or 0 for no limit");
  const guestInodes = check("guestInodes", limit(1_000), "a number from 1000 up, or 0 for no limit");
  const guestLog = check("guestLog", wholeNumber(100_000, 1e12), "bytes from 100000 up");
  const guestMemory = check("guestMemory", limit(50_000_000), "bytes from 50000000 up, or 0 for no limit");
  const guestProcesses = check("guestProcesses", limit(50), "a number from 50 up, or 0 for no limit");
  const inherit = check("inheritEnvironment", variableNames, "names of variables, with commas between them");
  const level = check("confinement", confinementLevel, "auto, sandbox, user or none");
  const guestNetwork = check(
    "guestNetwork",
    hosts,
    "open, shared, or hosts such as example.com,*.example.com:8443",
  );
  const guestPorts = check("guestPorts", portsOf, "ports with commas between them");
  const guestPaths = check("guestPaths", absolutePaths, "absolute paths with commas between them");
  const guestUsers = check("guestUsers", userRange, "a range such as 40000-49999, of at least 100");
  const protocols = check("gitProtocols", gitProtocolsOf, `a list of ${gitProtocols.join(", ")}`);
  const githubUrl = check("githubUrl", httpUrl, "an http:// or https:// URL");
  const gitTokens = check("gitTokens", gitTokensOf, "a list such as github.com=TOKEN");
  const enrols = check("enrol", flag, "0 or 1");
  const table = agentTable(read("agents"), problems);
  const count = (value: string) => (value === "0" ? 0 : integer(value, 1, Number.MAX_SAFE_INTEGER));
  const buildTime = check("buildTime", count, "seconds, or 0 for no limit");
  const buildSilence = check("buildSilence", count, "seconds, or 0 for no limit");
  const buildTurns = check("buildTurns", count, "a number, or 0 for no limit");
  const buildOutput = check("buildOutput", count, "bytes, or 0 for no limit");
  const buildCost = check("buildCost", amount, "an amount such as 2.50");
  const packageCache = check("packageCache", flag, "0 or 1");
  const cleanupNumber = (name: SettingName, fallback: number | null): number | null => {
    const found = check(name, count, "a number, or 0 for no limit");
    return found === null ? fallback : found || null;
  };
  const cleanup: CleanupPolicy = {
    caches: {
      ageSeconds: cleanupNumber("cleanupCachesAge", cleanupPolicy.caches.ageSeconds),
      count: cleanupNumber("cleanupCachesCount", cleanupPolicy.caches.count),
      bytes: cleanupNumber("cleanupCachesSize", cleanupPolicy.caches.bytes),
    },
    packages: {
      ageSeconds: cleanupNumber("cleanupPackagesAge", cleanupPolicy.packages.ageSeconds),
      bytes: cleanupNumber("cleanupPackagesSize", cleanupPolicy.packages.bytes),
    },
    projects: {
      ageSeconds: cleanupNumber("cleanupProjectsAge", cleanupPolicy.projects.ageSeconds),
      count: cleanupNumber("cleanupProjectsCount", cleanupPolicy.projects.count),
      bytes: cleanupNumber("cleanupProjectsSize", cleanupPolicy.projects.bytes),
    },
  };
  const debugBuild = check("debugBuild", flag, "0 or 1");
  const endpoint = text("otlpEndpoint");
  const tracing = endpoint === null ? null : parseTracing(endpoint, text("otlpHeaders"), text("tracesRatio"));
  if (endpoint !== null && tracing === null)
    problems.push(
      "OTEL_EXPORTER_OTLP_ENDPOINT must be an http:// or https:// URL, OTEL_EXPORTER_OTLP_HEADERS a list such as " +
        "name=value,name=value, and OTEL_TRACES_SAMPLER_ARG a number from 0 to 1.",
    );
  const dsn = check("sentryDsn", parseSentryDsn, "a DSN such as https://KEY@HOST/PROJECT");
  if (problems.length > 0 || brokerUrl === null) throw new SettingError(problems.join("\n"));

  return {
    runnerId,
    sharedSecret,
    enrols: enrols ?? true,
    brokerUrl,
    apiBaseUrl: apiBaseUrl ?? brokerUrl.origin.replace(/^ws/, "http"),
    webhook: webhookOf(apiBaseUrl, brokerUrl, text("webhookSecret") ?? sharedSecret),
    workspaceRoot,
    healthPort: healthPort ?? railwayPort ?? HEALTH_PORT,
    healthServer: serviceMode || healthPort !== null,
    serviceMode,
    heartbeatIntervalMs: heartbeat ?? RUNNER_STATUS_INTERVAL_MS,
    drainTimeoutMs: drain ?? DRAIN_TIMEOUT_MS,
    labels: labels ?? {},
    diskQuotaBytes: quota,
    guestLimits: {
      ...(guestDisk === null ? {} : { diskBytes: guestDisk || null }),
      ...(guestInodes === null ? {} : { diskInodes: guestInodes || null }),
      ...(guestLog === null ? {} : { logBytes: guestLog }),
      ...(guestMemory === null ? {} : { memoryBytes: guestMemory || null }),
      ...(guestProcesses === null ? {} : { processes: guestProcesses || null }),
    },
    inheritEnvironment: inherit ?? [],
    confinement: {
      level: level ?? confinementSettings.level,
      allowed: typeof guestNetwork === "string" ? null : guestNetwork,
      sharesNetwork: guestNetwork === "shared",
      ports: guestPorts ?? [],
      paths: guestPaths ?? [],
      users: guestUsers ?? GUEST_USERS,
      usesPerl: true,
    },
    git: {
      protocols: protocols ?? gitSettings.protocols,
      tokens: gitTokens ?? {},
      githubUrl: githubUrl ?? gitSettings.githubUrl,
    },
    devServerIdleMs: idle,
    agents: {
      chosen: text("agent"),
      table,
      vendors: {
        ...vendorsIn(env, table),
        ...(flags["anthropicApiKey"] === undefined
          ? {}
          : { ANTHROPIC_API_KEY: text("anthropicApiKey") ?? "" }),
      },
    },
    buildLimits: {
      ...(buildTime === null ? {} : { seconds: buildTime || null }),
      ...(buildSilence === null ? {} : { silenceSeconds: buildSilence || null }),
      ...(buildTurns === null ? {} : { turns: buildTurns || null }),
      ...(buildOutput === null ? {} : { outputBytes: buildOutput || null }),
      ...(buildCost === null ? {} : { cost: buildCost || null }),
    },
    packageCache: packageCache ?? true,
    cleanup,
    anthropicApiKey: text("anthropicApiKey"),
    debugBuild: debugBuild ?? false,
    tracing,
    sentry:
      dsn === null ? null : { dsn, environment: text("sentryEnvironment"), release: text("sentryRelease") },
  };
}

/** The hub itself has all events. */
function webhookOf(baseUrl: string | null, brokerUrl: URL, secret: string | null): RunnerConfig["webhook"] {
  const isHub = baseUrl !== null && new URL(baseUrl).host === brokerUrl.host;
  return baseUrl === null || isHub || secret === null ? null : { baseUrl, secret };
}

type Flags = Record<string, string | boolean | undefined>;

function parseFlags(args: readonly string[]): { values: Flags; positionals: string[] } {
  const flags = names.map((name) => [name, { type: name === DEBUG_FLAG ? "boolean" : "string" }] as const);
  try {
    const { values, positionals } = parseArgs({
      args: args.map(camelCase),
      options: { ...Object.fromEntries(flags), help: { type: "boolean" }, version: { type: "boolean" } },
      allowPositionals: true,
    });
    return { values, positionals };
  } catch (error) {
    // Its messages name the flag: "Unknown option '--x'", "Option '--x <value>' argument missing".
    if (error instanceof TypeError) throw new SettingError(`${error.message.split(". ")[0]}. See --help.`);
    throw error;
  }
}

/** `--heartbeat-interval` means `--heartbeatInterval`. */
function camelCase(argument: string): string {
  return argument.replace(/^--[a-z][a-zA-Z-]*/, (name) =>
    name.replace(/(?<=\w)-([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  );
}

/** Railway's references to unset variables are empty strings. */
function given(value: string | undefined): string | null {
  return value === undefined || value === "" ? null : value;
}

function integer(value: string, least: number, most: number): number | null {
  const number = Number(value);
  return /^\d{1,16}$/.test(value) && number >= least && number <= most ? number : null;
}

function flag(value: string): boolean | null {
  if (value === "1" || value === "true") return true;
  return value === "0" || value === "false" ? false : null;
}

function labelsOf(value: string): Record<string, string> | null {
  const pairs = value.split(",").map((part) => /^\s*([\w.-]{1,63})=([\w.-]{0,63})\s*$/.exec(part)?.slice(1));
  const known = pairs.filter((pair) => pair !== undefined);
  if (known.length < pairs.length || known.length > RUNNER_LABELS_LIMIT) return null;
  return Object.fromEntries(known.map(([name = "", content = ""]) => [name, content]));
}

function variableNames(value: string): string[] | null {
  const given = value.split(",").map((name) => name.trim());
  return given.every((name) => /^[A-Za-z_]\w*$/.test(name)) ? given : null;
}

function gitProtocolsOf(value: string): GitProtocol[] | null {
  const given = value.split(",").map((name) => gitProtocols.find((one) => one === name.trim()));
  const known = given.filter((one) => one !== undefined);
  return known.length === given.length ? known : null;
}

function gitTokensOf(value: string): Record<string, string> | null {
  const pairs = value.split(",").map((part) => /^\s*([\w.-]+(?::\d{1,5})?)=([\x21-\x7e]{6,})\s*$/.exec(part));
  const known = pairs.filter((pair) => pair !== null);
  if (known.length < pairs.length) return null;
  return Object.fromEntries(known.map(([, host = "", token = ""]) => [host, token]));
}

function agentTable(
  found: { value: string; from: string } | null,
  problems: string[],
): AgentSettings["table"] {
  const table = found === null ? {} : parseAgents(found.value);
  if (typeof table !== "string") return table;
  problems.push(`${found?.from} ${table}.`);
  return {};
}

function amount(value: string): number | null {
  return /^\d{1,9}(?:\.\d{1,6})?$/.test(value) ? Number(value) : null;
}

function confinementLevel(value: string): ConfinementSettings["level"] | null {
  return (["auto", ...confinementLevels] as const).find((level) => level === value) ?? null;
}

function hosts(value: string): string[] | "open" | "shared" | null {
  if (value === "open" || value === "shared") return value;
  const given = value.split(",").map((host) => host.trim().toLowerCase());
  return given.every((host) => /^(?:\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/.test(host))
    ? given
    : null;
}

function portsOf(value: string): number[] | null {
  const given = value.split(",").map((port) => integer(port.trim(), 1, 65_535));
  const known = given.filter((port) => port !== null);
  return known.length === given.length ? known : null;
}

function absolutePaths(value: string): string[] | null {
  const given = value.split(",").map((path) => path.trim());
  return given.every((path) => isAbsolute(path) && path !== "/") ? given.map((path) => resolve(path)) : null;
}

function userRange(value: string): UserRange | null {
  const [, from = "", to = ""] = /^(\d+)-(\d+)$/.exec(value) ?? [];
  const [first, last] = [integer(from, 1_000, 2 ** 31), integer(to, 1_000, 2 ** 31)];
  return first === null || last === null || last - first < 99 ? null : { first, last };
}

function id(value: string): string | null {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(value) ? value : null;
}

function headerValue(value: string): string | null {
  return /^[\u0021-\u007e](?:[\u0020-\u007e]*[\u0021-\u007e])?$/.test(value) ? value : null;
}

function url(value: string, protocols: readonly string[]): URL | null {
  const parsed = URL.parse(value);
  if (parsed === null || !protocols.includes(parsed.protocol) || parsed.hash !== "") return null;
  return parsed;
}

function webSocketUrl(value: string): URL | null {
  const parsed = url(value, ["ws:", "wss:"]);
  return parsed === null || parsed.username !== "" || parsed.password !== "" ? null : parsed;
}

function httpUrl(value: string): string | null {
  return url(value, ["http:", "https:"]) === null ? null : value.replace(/\/+$/, "");
}
