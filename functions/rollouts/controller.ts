import { DurableObject } from "cloudflare:workers";
import { configOf, type ConfigEnv } from "../config.ts";
import type { Decision } from "../janitor/report.ts";
import { sweepApp } from "../janitor/sweep-app.ts";
import { STORE_RETRY_MS, STORE_TIMEOUT_MS } from "../protocol/limits.ts";
import { openProviders } from "../providers/open.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import { fetchTarget } from "../runners/tunnel.ts";
import { openStore, type StoreEnv } from "../state/open.ts";
import type { StateStore } from "../state/store.ts";
import { deploymentOf, hasWork, parseAppDocument, type Deployment } from "../apps/app-document.ts";
import { tellReload } from "../apps/contract.ts";
import { evidence } from "./evidence.ts";
import { ProgressLog } from "./progress-log.ts";
import { progressStream } from "./progress-stream.ts";
import { reconcile, type ReconcileContext } from "./reconcile.ts";
import { verify } from "./verify.ts";
import { Waits } from "./waits.ts";

type ControllerEnv = ConfigEnv & StoreEnv & HubBinding;

/** While the store is down each app asks for it, at first every second and then more and more rarely. */
const RETRY_LIMIT_MS = 15_000;

/**
 * One for each app: runs its reconcile from an alarm, one at a time, and keeps its rollouts' progress. It holds no
 * state that matters: the document is in the store, and the cron sweep calls what a lost alarm would have.
 */
export class AppController extends DurableObject<ControllerEnv> {
  readonly #store: StateStore;
  readonly #progress: ProgressLog;
  readonly #context: ReconcileContext;
  #app: string | null = null;
  #running: Promise<void> | null = null;
  #failures = 0;
  /** Calls of `reconcile` so far, how many of them the round under way knows of, and what tells it of the next. */
  #calls = 0;
  #callsSeen = 0;
  #wake = (): void => {};

  constructor(ctx: DurableObjectState, env: ControllerEnv) {
    super(ctx, env);
    const config = configOf(env);
    this.#store = openStore(env);
    const caller = { internalToken: config.internalToken, fetchTarget: fetchTarget(env) };
    const providers = openProviders({ env, store: this.#store, ...config });
    this.#progress = new ProgressLog(ctx.storage.sql, Date.now);
    this.#context = {
      store: this.#store,
      providers,
      verify: (app, deployment) => verify(app, deployment, { config, fetchTarget: caller.fetchTarget }),
      tellReload: (app, deployment) => tellReload(app, deployment, caller),
      probeSessions: (app, deployment) => evidence(app, deployment, caller, providers),
      // A table lives its time, and the read that renewed it may have taken as long as the store is given.
      tableAgeLimitMs: 2 * config.routeTtlMs + STORE_TIMEOUT_MS,
      progress: this.#progress,
      now: Date.now,
      sleep,
      changed: () => {
        this.#callsSeen = this.#calls;
        return new Promise((resolve) => {
          this.#wake = resolve;
        });
      },
      waits: new Waits(),
      storeIsAway: false,
      storeBackAt: 0,
    };
  }

  /** Does what is due for the app. A round that is under way looks again at once. */
  async reconcile(app: string): Promise<void> {
    if (this.#app !== app) await this.ctx.storage.put("app", app);
    this.#app = app;
    this.#calls += 1;
    this.#wake();
    this.#running ??= this.#run(app);
    return this.#running;
  }

  /** Does a deployment's next step now, whatever it was put off for. */
  async hurry(app: string, deployment: string): Promise<void> {
    this.#context.waits.end(deployment);
    return this.reconcile(app);
  }

  /** The janitor's look at this app; unless `dryRun`, what it decided is begun before this returns. */
  async sweep(app: string, dryRun: boolean): Promise<Decision[]> {
    const decisions = await sweepApp(app, {
      store: this.#store,
      probeSessions: this.#context.probeSessions,
      now: Date.now,
      dryRun,
    });
    // Not awaited: the janitor looks at other apps while this one's backends take their time.
    if (!dryRun) this.#start(app);
    return decisions;
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

  async #run(app: string): Promise<void> {
    try {
      do {
        // Should this object die midway, the alarm takes the work up again.
        await this.ctx.storage.setAlarm(Date.now() + STORE_RETRY_MS);
        const wakeAt = await this.#round(app);
        if (wakeAt === null || wakeAt === Infinity) await this.ctx.storage.deleteAlarm();
        else await this.ctx.storage.setAlarm(Math.max(wakeAt, Date.now() + 1));
      } while (this.#callsSeen !== this.#calls);
    } finally {
      this.#running = null;
    }
  }

  /** When to come again. The store is down or the code is wrong: either way the work is still there later. */
  async #round(app: string): Promise<number | null> {
    try {
      const wakeAt = await reconcile(app, this.#context);
      this.#failures = 0;
      return wakeAt;
    } catch (error) {
      console.error(`Reconciling ${app} failed: ${error instanceof Error ? error.message : "unknown error"}`);
      const pauseMs = Math.min(RETRY_LIMIT_MS, STORE_RETRY_MS * 2 ** this.#failures);
      this.#failures += 1;
      // Spread out, so that a store that comes back isn't met by every app at once.
      return Date.now() + pauseMs * (0.75 + Math.random() / 2);
    }
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
