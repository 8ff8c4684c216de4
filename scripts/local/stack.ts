import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buildWorker } from "../build/worker.ts";
import { ControlClient } from "../client/control-client.ts";
import { takeHome } from "./home-lock.ts";
import {
  openHome,
  SettingError,
  OPERATOR_NAME,
  workerSettings,
  writeLocal,
  type LocalSecrets,
  type LocalSettings,
} from "./settings.ts";
import { checkState } from "./state-check.ts";
import { startWorkerd, type Workerd, type WorkerSettings } from "./workerd.ts";

/** Source: `wrangler.toml`, one cron trigger each minute. */
const CRON_PERIOD_MS = 60_000;

export interface Stack {
  /** Of the default app and the control API. */
  url: string;
  /** For browsers. */
  dashboard: string;
  secrets: LocalSecrets;
  control: ControlClient;
  workerd: Workerd;
  /** Ends everything that was started, in order. */
  stop(): Promise<void>;
}

/** The whole of Signalbox on this machine: the Worker in workerd, its state under `home`, its cron on schedule. */
export async function startStack(
  settings: LocalSettings,
  env: NodeJS.ProcessEnv = process.env,
  stdout: "inherit" | "ignore" = "inherit",
  /** Settings of the Worker beyond the local ones. */
  more: WorkerSettings = {},
): Promise<Stack> {
  const home = resolve(settings.home);
  const { secrets, hasStore } = await openHome(home, env);
  const lock = await takeHome(home);
  const build = await mkdtemp(join(tmpdir(), "signalbox-build-"));
  const stateDirectory = join(home, "state");
  const isEmbedded = settings.upstash === null;
  try {
    await checkState(stateDirectory, isEmbedded && hasStore);
    const workerd = await startWorkerd({
      worker: await buildWorker(build),
      stateDirectory,
      port: settings.port,
      settings: { ...workerSettings(settings, secrets), ...more },
      stdout,
    });
    const url = `http://localhost:${workerd.port}`;
    const control = new ControlClient(`http://127.0.0.1:${workerd.port}`, secrets.controlToken);
    // The store exists from its first answer on.
    if (isEmbedded) await firstAnswer(control, workerd, stateDirectory);
    await writeLocal(home, { url, secrets, hasStore: hasStore || isEmbedded });
    const stopCron = startCron(workerd);
    return {
      url,
      dashboard: `http://${OPERATOR_NAME}:${workerd.port}/_signalbox/`,
      secrets,
      workerd,
      control,
      async stop() {
        stopCron();
        await workerd.stop();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  } finally {
    await rm(build, { recursive: true, force: true });
  }
}

async function firstAnswer(control: ControlClient, workerd: Workerd, directory: string): Promise<void> {
  try {
    await control.call("GET", "/apps");
  } catch (error) {
    await workerd.stop();
    const why = error instanceof Error ? error.message : String(error);
    throw new SettingError(
      `The store in ${directory} doesn't answer: ${why} Restore it from a backup, or delete it and local.json to begin anew.`,
    );
  }
}

/** Fires on the minute, as Cloudflare does. */
function startCron(workerd: Workerd): () => void {
  let timer: NodeJS.Timeout;
  const schedule = (): void => {
    timer = setTimeout(
      () => {
        schedule();
        workerd.runCron().catch((error: unknown) => {
          console.error(error instanceof Error ? error.message : error);
        });
      },
      CRON_PERIOD_MS - (Date.now() % CRON_PERIOD_MS),
    );
  };
  schedule();
  return () => clearTimeout(timer);
}
