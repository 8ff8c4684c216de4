import { DurableObject } from "cloudflare:workers";
import { configOf, type ConfigEnv } from "../config.ts";
import type { Decision } from "../janitor/report.ts";
import { sweepApp } from "../janitor/sweep-app.ts";
import { openProviders } from "../providers/open.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import { fetchBackend } from "../runners/tunnel.ts";
import { openStore, type StoreEnv } from "../state/open.ts";
import type { StateStore } from "../state/store.ts";
import {
  contractOf,
  deploymentOf,
  hasWork,
  parseAppDocument,
  type AppDocument,
  type Deployment,
} from "../apps/app-document.ts";
import type { PageHubBinding } from "../pages/hub.ts";
import { endPages, reloadPages } from "../pages/hubs.ts";
import { tellReload } from "../apps/contract.ts";
import { tableAgeLimitMs } from "../apps/due.ts";
import { RolloutDriver, type DriverParts } from "./driver.ts";
import { seeSessions, type SessionsSeen } from "./sessions-seen.ts";
import { sessionsLeft } from "./sessions-left.ts";
import { ProgressLog } from "./progress-log.ts";
import { progressStream } from "./progress-stream.ts";
import { verify } from "./verify.ts";

type ControllerEnv = ConfigEnv & StoreEnv & HubBinding & PageHubBinding;

/**
 * One for each app: keeps the alarm that wakes its driver, and its rollouts' progress. It holds no state that matters:
 * the document is in the store, and the cron sweep makes good for a lost alarm.
 */
export class AppController extends DurableObject<ControllerEnv> {
  readonly #store: StateStore;
  readonly #progress: ProgressLog;
  readonly #parts: DriverParts;
  #driver: RolloutDriver | null = null;

  constructor(ctx: DurableObjectState, env: ControllerEnv) {
    super(ctx, env);
    const config = configOf(env);
    this.#store = openStore(env);
    const caller = { internalToken: config.internalToken, fetchBackend: fetchBackend(env) };
    const providers = openProviders({ env, store: this.#store, ...config });
    const limitMs = tableAgeLimitMs(config.routeTtlMs);
    this.#progress = new ProgressLog(ctx.storage.sql, Date.now);
    this.#parts = {
      store: this.#store,
      providers,
      verify: (app, deployment) => verify(app, deployment, { config, fetchBackend: caller.fetchBackend }),
      tellReload: (app, deployment) =>
        contractOf(app, deployment) === "edge"
          ? tellPages(env, app, deployment)
          : tellReload(app, deployment, caller),
      sessionsLeft: (app, deployment) =>
        sessionsLeft(app, deployment, {
          caller,
          providers,
          pages: env,
          tableAgeLimitMs: limitMs,
          now: Date.now,
        }),
      endPages: async (app, deployment) => {
        if (contractOf(app, deployment) === "edge") await endPages(env, { app: app.name, deployment });
      },
      tableAgeLimitMs: limitMs,
      progress: this.#progress,
      now: Date.now,
      sleep,
      wakeAt: (time) =>
        time === null ? ctx.storage.deleteAlarm() : ctx.storage.setAlarm(Math.max(time, Date.now() + 1)),
    };
  }

  /** Does what is due for the app. A round that is under way looks again at once. */
  async reconcile(app: string): Promise<void> {
    return (await this.#driverOf(app)).reconcile();
  }

  /** Takes a deployment's next step now, whatever it was put off for. */
  async hurry(app: string, deployment: string): Promise<void> {
    return (await this.#driverOf(app)).hurry(deployment);
  }

  /** The janitor's look at this app. Unless `dryRun`, what it decided has begun when this returns. */
  async sweep(app: string, dryRun: boolean): Promise<Decision[]> {
    const decisions = await sweepApp(app, {
      store: this.#store,
      sessionsLeft: this.#parts.sessionsLeft,
      now: Date.now,
      dryRun,
    });
    // Not awaited: the janitor looks at other apps while this one's backends take their time.
    if (!dryRun) this.#start(app);
    return decisions;
  }

  /** Who is still on the app's deployments: for somebody who looks, not for a decision. */
  async sessions(app: string): Promise<SessionsSeen[]> {
    const stored = await this.#store.readApp(app);
    if (stored === null) return [];
    return seeSessions(parseAppDocument(stored.body), this.#parts.sessionsLeft);
  }

  override async alarm(): Promise<void> {
    const app = await this.ctx.storage.get("app");
    if (typeof app === "string") await this.reconcile(app);
  }

  /** Server-sent progress: `/APP/DEPLOYMENT`, resumed by `Last-Event-ID`. */
  override async fetch(request: Request): Promise<Response> {
    const [, app = "", deployment = ""] = new URL(request.url).pathname.split("/");
    const look = async (): Promise<Deployment | undefined> => {
      const stored = await this.#store.readApp(app);
      if (stored === null) return undefined;
      const document = parseAppDocument(stored.body);
      // Whoever asks sees at least what the document says now, even where no round has run since it changed.
      this.#progress.observe(document);
      return deploymentOf(document, deployment);
    };
    this.#start(app);
    return progressStream(request, deployment, this.#progress, async () => isAtRest(await look()));
  }

  #start(app: string): void {
    this.ctx.waitUntil(this.reconcile(app).catch(() => undefined)); // the alarm or the cron sweep tries again
  }

  /** An alarm brings no name, so the object remembers it. */
  async #driverOf(app: string): Promise<RolloutDriver> {
    if (this.#driver === null) await this.ctx.storage.put("app", app);
    return (this.#driver ??= new RolloutDriver(app, this.#parts));
  }
}

async function tellPages(
  env: PageHubBinding,
  app: AppDocument,
  deployment: Deployment,
): Promise<{ sockets: number | null; why: string }> {
  try {
    return { sockets: await reloadPages(env, { app: app.name, deployment }), why: "" };
  } catch {
    return { sockets: null, why: "their hub couldn't be asked" };
  }
}

/** Whether nothing will happen to a deployment before somebody decides something. */
function isAtRest(deployment: Deployment | undefined): boolean {
  if (!deployment || !hasWork(deployment)) return true;
  const { state, promoteWhenReady, redeploy, retirement } = deployment;
  if (redeploy || retirement) return false;
  return (state === "ready" && !promoteWhenReady) || state === "draining";
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
