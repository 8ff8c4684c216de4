import { Failure } from "../failure.ts";
import { loginFile, readLogins, writeLogins } from "../login-file.ts";
import type { CommandContext } from "../context.ts";
import { readSecrets, secretNames, secretsFile } from "./secrets.ts";
import { serverOf } from "./settings.ts";
import { workerSettings, type Outcome, type OpenBaseline } from "./update-baseline.ts";
import { deployWorker, listSecrets, putSecrets, workerDirectory, type WranglerRun } from "./wrangler.ts";

function runOf(context: CommandContext): WranglerRun {
  return {
    directory: workerDirectory(context.cwd),
    env: context.env,
    signal: context.signal,
    output: (text) => context.output.remark(text.trimEnd()),
  };
}

/** A Worker that has secrets keeps them: made anew, its deployments and runners would be strangers to it. */
export async function refuseUnknownSecrets(context: CommandContext, { place }: OpenBaseline): Promise<void> {
  const file = secretsFile(place, context.env);
  if ((await readSecrets(file)) !== null || secretNames.every((name) => context.env[name] !== undefined))
    return;
  const there = (await listSecrets(runOf(context))).filter((name) => secretNames.includes(name));
  if (there.length === 0) return;
  throw new Failure(
    "failed",
    "worker_has_secrets",
    `The Worker already has ${there.join(", ")}, and ${file} isn't there to say what they are. Copy it from where they ` +
      `were made, or give ${secretNames.join(", ")} in the environment.`,
  );
}

/** The Worker's settings that are known here, by name. */
export function knownSettings(
  context: CommandContext,
  opened: OpenBaseline,
  { secrets }: Outcome,
): Record<string, string> {
  const { env } = context;
  const { client, scope } = opened.railway;
  const given = (name: string): Record<string, string> => {
    const value = env[name];
    return value === undefined || value === "" ? {} : { [name]: value };
  };
  return {
    ...secrets,
    ...workerSettings(opened.place, opened.baseline),
    // Only a token that sees nothing else: an account's is the operator's own.
    ...(scope === null ? {} : { RAILWAY_TOKEN: client.token.value }),
    ...given("UPSTASH_REDIS_REST_URL"),
    ...given("UPSTASH_REDIS_REST_TOKEN"),
    ...given("RAILWAY_API_URL"),
  };
}

/** Gives the Worker its settings, deploys it, and logs this machine in to it. */
export async function applyToWorker(
  context: CommandContext,
  flags: { server: string | undefined },
  opened: OpenBaseline,
  outcome: Outcome,
): Promise<void> {
  const run = runOf(context);
  const settings = knownSettings(context, opened, outcome);
  context.output.remark(`npx wrangler secret bulk (${Object.keys(settings).join(", ")})`);
  await putSecrets(run, settings);
  context.output.remark("npx wrangler deploy");
  await deployWorker(run);
  const server = serverOf(context, flags);
  if (server === null || outcome.secrets === null) return;
  const file = loginFile(context.env);
  const logins = await readLogins(file);
  const token = outcome.secrets.CONTROL_TOKEN;
  await writeLogins(file, { current: server, servers: { ...logins.servers, [server]: { token } } });
}
