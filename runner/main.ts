import { tellCleanup } from "./cleanup/tell-cleanup.ts";
import { tellAgents } from "./builds/agent-report.ts";
import { vendorVariables } from "./builds/agents.ts";
import { helpText, readInvocation, secretVariables, SettingError, type RunnerConfig } from "./config.ts";
import { passwordOf } from "./git/run-git.ts";
import { noReporter, SentryReporter, type Reporter } from "./observability/sentry.ts";
import { serveRelay } from "./confinement/relay.ts";
import { LockError } from "./processes/file-lock.ts";
import { exposingParents, hideSecrets } from "./processes/hide-secrets.ts";
import { hasSystemCode, RunnerError } from "./runner-error.ts";
import { Runner, type RunnerOptions } from "./runner.ts";
import { serveStatic } from "./static/serve.ts";
import { runTemplateAgent } from "./template-agent/agent.ts";
import { LiveView } from "./terminal/live-view.ts";
import { createLog, type Log } from "./terminal/log.ts";
import { complain } from "./terminal/complain.ts";
import { version } from "./version.ts";

/** Shorter ones stand in other words of a command line, too, and hide nothing. */
const HIDDEN_FROM_LENGTH = 6;

export type Attach = (runner: Runner, config: RunnerConfig) => void;

/**
 * The runner's process: reads its settings, attaches its parts, runs until it is told to stop. `attach` adds what the
 * runner does besides connecting.
 */
export async function main(attach: Attach, timings: RunnerOptions["timings"] = {}): Promise<void> {
  try {
    await run(attach, timings);
  } catch (error) {
    if (!isExpected(error)) throw error;
    complain(error.message);
    process.exit(1);
  }
}

/** Its message says what is wrong with this machine or its settings; where in the program that showed is no help. */
function isExpected(error: unknown): error is Error {
  return [SettingError, RunnerError, LockError].some((kind) => error instanceof kind) || hasSystemCode(error);
}

async function run(attach: Attach, timings: RunnerOptions["timings"] = {}): Promise<void> {
  const invocation = readInvocation(process.argv.slice(2), process.env);
  if (invocation.kind === "static") return serveStatic(invocation.args);
  if (invocation.kind === "relay") return serveRelay(invocation.args);
  if (invocation.kind === "template-agent") return runTemplateAgent();
  if (invocation.kind === "cleanup") return tellCleanup(invocation);
  if (invocation.kind === "agents") return tellAgents(invocation.agents, invocation.json);
  if (invocation.kind !== "run") {
    console.log(invocation.kind === "help" ? helpText() : version);
    return;
  }
  const { config } = invocation;
  // The log's reader may leave. An unhandled error would be logged, and that would fail again, for ever.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  const exposure = takeSecretsAway(config);
  const tokens = Object.values(config.git.tokens).map(passwordOf);
  const otlp = Object.values(config.tracing?.headers ?? {});
  const keys = [config.webhook?.secret ?? "", ...vendorKeys(config), ...tokens, ...otlp];
  const secrets = [config.sharedSecret ?? "", config.anthropicApiKey ?? "", ...keys];
  const live = LiveView.fits(config.serviceMode) ? new LiveView() : null;
  const log = createLog({ debug: config.debugBuild, secrets });
  for (const line of exposure) log.warn(`[runner] ${line}`);
  const reporter = makeReporter(config, secrets);
  endOnUncaught(log, reporter);
  const runner = new Runner({ config, log, reporter, timings, onSecret: (secret) => secrets.push(secret) });
  attach(runner, config);
  endOnSignal(runner, log, reporter);
  live?.show(runner, config.runnerId, config.brokerUrl.host);
  try {
    await runner.start();
  } catch (error) {
    live?.close();
    throw error;
  }
}

/** From now on neither this process's environment nor its command line shows them. Answers what still does. */
function takeSecretsAway(config: RunnerConfig): string[] {
  const { sharedSecret, anthropicApiKey, webhook, sentry, brokerUrl, inheritEnvironment, git } = config;
  const otlp = Object.values(config.tracing?.headers ?? {});
  const keys = [...vendorKeys(config), ...Object.values(git.tokens), ...otlp];
  const known = [sharedSecret, anthropicApiKey, webhook?.secret ?? null, ...keys].filter(
    (secret) => secret !== null,
  );
  const shown = [...known, sentry?.dsn.username ?? "", brokerUrl.search.slice(1)];
  const failure = hideSecrets(shown.filter(({ length }) => length >= HIDDEN_FROM_LENGTH));
  const vendors = [...vendorVariables(config.agents.table).keys()];
  for (const name of [...secretVariables, ...vendors])
    if (!inheritEnvironment.includes(name)) delete process.env[name];
  const parents = exposingParents(known);
  return [
    ...(failure === null ? [] : [`the environment that it was started with can't be hidden: ${failure}`]),
    ...(parents.length === 0
      ? []
      : [`others can read its secrets from ${parents.join(", ")}, which started it`]),
  ];
}

function vendorKeys({ agents }: RunnerConfig): string[] {
  const variables = vendorVariables(agents.table);
  return Object.entries(agents.vendors).flatMap(([name, value]) =>
    variables.get(name) === true ? value : [],
  );
}

function makeReporter({ sentry, runnerId }: RunnerConfig, secrets: string[]): Reporter {
  return sentry === null ? noReporter : new SentryReporter({ ...sentry, runnerId, secrets });
}

/** The process's state is unknown after that: it ends, and its supervisor restarts it. */
function endOnUncaught(log: Log, reporter: Reporter): void {
  for (const uncaught of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(uncaught, (error: unknown) => {
      log.error(`[runner] ${uncaught}: ${error instanceof Error ? error.stack : String(error)}`);
      reporter.report(error, { level: "fatal", uncaught });
      void exitAfter(reporter.flush(), 1);
    });
  }
}

/** The first signal shuts down, the second doesn't wait. */
function endOnSignal(runner: Runner, log: Log, reporter: Reporter): void {
  let signals = 0;
  const stop = async (): Promise<void> => {
    await runner.stop();
    await reporter.flush();
  };
  const shutDown = async (): Promise<void> => {
    await runner.shutDown();
    // A second signal is stopping everything already.
    if (signals > 1) return;
    await stop();
    log.info("[runner] stopped");
    process.exit(0);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      signals += 1;
      if (signals === 1) {
        log.info(`[runner] ${signal}: shutting down; a second signal stops at once`);
        void shutDown();
      } else if (signals === 2) {
        log.warn(`[runner] ${signal} again: stopping at once`);
        void exitAfter(stop(), 1);
      }
    });
  }
}

async function exitAfter(work: Promise<void>, code: number): Promise<void> {
  try {
    await work;
  } finally {
    process.exit(code);
  }
}
