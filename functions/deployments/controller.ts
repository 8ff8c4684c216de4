import { DurableObject } from "cloudflare:workers";
import { configOf, type Config, type Env } from "../config.ts";
import type { Decision } from "../janitor/decide.ts";
import { sweepApp } from "../janitor/sweep-app.ts";
import { STORE_RETRY_MS, STORE_TIMEOUT_MS } from "../protocol/limits.ts";
import { openProviders } from "../providers/provider.ts";
import { openStore } from "../state/open.ts";
import type { StateStore } from "../state/store.ts";
import { hasWork, parseAppDocument } from "./app-document.ts";
import { probeSessions, tellReload } from "./contract.ts";
import { ProgressLog } from "./progress-log.ts";
import { progressStream } from "./progress-stream.ts";
import { reconcile, type ReconcileContext } from "./reconcile.ts";
import { verify } from "./verify.ts";

/**
 * One for each app: runs its reconcile from an alarm, one at a time, and keeps its rollouts' progress. It holds no
 * state that matters: the document is in the store, and the cron sweep calls what a lost alarm would have.
 */
export class AppController extends DurableObject<Env> {
  readonly #config: Config;
  readonly #store: StateStore;
  readonly #progress: ProgressLog;
  readonly #context: ReconcileContext;
  #running: Promise<void> | null = null;
  #again = false;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const config = configOf(env);
    this.#config = config;
    this.#store = openStore(env);
    this.#progress = new ProgressLog(ctx.storage.sql, Date.now);
    this.#context = {
      store: this.#store,
      providers: openProviders(config),
      verify: (app, deployment) => verify(app, deployment, config),
      tellReload: (app, deployment) => tellReload(app, deployment, config.internalToken),
      probeSessions: (app, deployment) => probeSessions(app, deployment, config.internalToken),
      // A table lives its time, and the read that renewed it may have taken as long as the store is given.
      tableAgeLimitMs: 2 * config.routeTtlMs + STORE_TIMEOUT_MS,
      progress: this.#progress,
      now: Date.now,
      notBefore: new Map(),
    };
  }

  /** Does what is due for the app. Calls that come while it works are answered by one more round. */
  async reconcile(app: string): Promise<void> {
    await this.ctx.storage.put("app", app);
    if (this.#running) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#run(app).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** The janitor's look at this app; unless `dryRun`, what it decided is begun before this returns. */
  async sweep(app: string, dryRun: boolean): Promise<Decision[]> {
    const decisions = await sweepApp(app, {
      store: this.#store,
      probeSessions: this.#context.probeSessions,
      now: Date.now,
      dryRun,
    });
    if (!dryRun) await this.reconcile(app);
    return decisions;
  }

  override async alarm(): Promise<void> {
    const app = await this.ctx.storage.get("app");
    if (typeof app === "string") await this.reconcile(app);
  }

  /** Server-sent progress: `/APP/DEPLOYMENT`, resumed by `Last-Event-ID`. */
  override async fetch(request: Request): Promise<Response> {
    const [, app = "", deployment = ""] = new URL(request.url).pathname.split("/");
    // Whoever asks sees at least what the document says now, even where no round has run since it changed.
    await this.reconcile(app);
    const isOver = async (): Promise<boolean> => {
      const stored = await this.#store.readApp(app);
      const found = stored ? parseAppDocument(stored.body).deployments[deployment] : undefined;
      return !found || !hasWork(found) || (found.state === "ready" && !found.promoteWhenReady);
    };
    return progressStream(request, deployment, this.#progress, isOver);
  }

  async #run(app: string): Promise<void> {
    let wakeAt: number | null = Date.now() + STORE_RETRY_MS;
    try {
      // Should this object die midway, the alarm takes the work up again.
      await this.ctx.storage.setAlarm(wakeAt);
      do {
        this.#again = false;
        wakeAt = await reconcile(app, this.#context);
      } while (this.#again);
    } catch (error) {
      // The store is down or the code is wrong: either way the work is still there later.
      console.error(`Reconciling ${app} failed: ${error instanceof Error ? error.message : "unknown error"}`);
      wakeAt = Date.now() + STORE_RETRY_MS;
    } finally {
      if (wakeAt === null || wakeAt === Infinity) await this.ctx.storage.deleteAlarm();
      else await this.ctx.storage.setAlarm(Math.max(wakeAt, Date.now() + 1));
    }
  }
}
