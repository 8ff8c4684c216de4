import type { AppDocument } from "./apps/app-document.ts";
import type { ChangesBinding } from "./changes/binding.ts";
import { configOf, type ConfigEnv } from "./config.ts";
import { OPERATOR } from "./control/caller.ts";
import { CONTROL_PREFIX, serveControl } from "./control/index.ts";
import { callController, type ControlContext, type ControllerBinding } from "./control/context.ts";
import { isTransient, objectUnavailable } from "./durable-object-call.ts";
import { dashboardCaller } from "./dashboard/caller.ts";
import { serveDashboard, serveOperatorHost } from "./dashboard/index.ts";
import { setPageCookie } from "./edge/page-cookie.ts";
import { placeOf, servePublic } from "./edge/serve.ts";
import { sharedTables } from "./edge/shared-tables.ts";
import { ReadBudget } from "./edge/read-budget.ts";
import { RouteTables } from "./edge/table.ts";
import { readUrl } from "./edge/url.ts";
import { ConfigError, Problem, problemResponse } from "./errors.ts";
import { sweep } from "./janitor/sweep.ts";
import { servicesSweep } from "./janitor/sweep-services.ts";
import { serveMetrics } from "./control/metrics.ts";
import type { PageHubBinding } from "./pages/hub.ts";
import { pageLayer } from "./pages/layer.ts";
import { isPagePath, servePages, type PagesContext } from "./pages/serve.ts";
import { servePreview } from "./projects/preview.ts";
import { previewOf } from "./projects/preview-host.ts";
import { openProviders } from "./providers/open.ts";
import { requestHost, type RequestHost } from "./request-host.ts";
import { isBrokerPath, serveBroker } from "./control/broker.ts";
import type { HubBinding } from "./runners/reach-hub.ts";
import { fetchBackend } from "./runners/tunnel.ts";
import { openStore, type StoreEnv } from "./state/open.ts";
import { StoreUnavailable } from "./state/store.ts";

export { ChangeHub } from "./changes/hub.ts";
export { PageHub } from "./pages/hub.ts";
export { AppController } from "./rollouts/controller.ts";
export { RunnerHub } from "./runners/hub.ts";
export { EmbeddedStore } from "./state/embedded.ts";

const OWN_PREFIX = "/_signalbox";
/** The Worker's bindings, variables and secrets, as the platform hands them over. */
export type Env = ConfigEnv & StoreEnv & ChangesBinding & HubBinding & PageHubBinding & ControllerBinding;

/** How often the cron looks for orphaned services on Railway; each look costs API calls. */
const SERVICES_EVERY_MINUTES = 15;

/** Reads of the store for pages whose deployment the table doesn't have: it may be a moment old, or made up. */
const PAGE_READS_BURST = 50;
const PAGE_READS_PER_SECOND = 5;
const pageReads = new ReadBudget(PAGE_READS_BURST, PAGE_READS_PER_SECOND);

/** One for each isolate: it is the cache that keeps the store off the path of requests. */
let tables: RouteTables | undefined;

export default {
  async fetch(request, env, ctx): Promise<Response> {
    try {
      const config = configOf(env);
      const url = readUrl(request.url);
      const host = url === null ? null : requestHost(request, url);
      if (url === null || host === null) throw notAHost();
      const path = url.pathname;
      const waitUntil = (work: Promise<unknown>): void => ctx.waitUntil(work);
      const isOperatorHost = host.name === config.operatorHost?.name;
      const preview = isOperatorHost ? null : previewOf(host.name, config.previewDomain);
      if (preview !== null) {
        const context = { env, config, store: openStore(env), now: Date.now, waitUntil };
        return await servePreview(request, url, preview, context);
      }
      if (isPagePath(path) && !isOperatorHost) {
        const routes = tablesOf(env);
        const { key, appName, deployment } = await placeOf(host.name, { config, tables: routes, waitUntil });
        const app = async (fresh: boolean): Promise<AppDocument | null> => {
          if (!fresh) return (await routes.get(key, appName, waitUntil)).app;
          if (!pageReads.take(Date.now()))
            throw new Problem("store_unavailable", "Too many pages ask at once.");
          return (await routes.fresh(key, appName, waitUntil)).app;
        };
        const follow: PagesContext["follow"] = (headers, { config: { stickiness } }, { id }) => {
          if (stickiness === "off" || deployment !== null) return;
          const loadedAt = stickiness === "visitor" ? Math.floor(Date.now() / 1_000) : null;
          setPageCookie(headers, { id, loadedAt }, url);
        };
        return await servePages(request, new URL(request.url), { env, app, follow, waitUntil });
      }
      if (path === OWN_PREFIX || path.startsWith(`${OWN_PREFIX}/`)) {
        return await serveOwn(request, { url: new URL(request.url), host }, env, waitUntil);
      }
      if (isOperatorHost) return serveOperatorHost(request, path);
      const context = {
        config,
        tables: tablesOf(env),
        waitUntil,
        fetchBackend: fetchBackend(env),
        pageLayer: pageLayer(env, waitUntil),
      };
      return await servePublic(request, url, host.name, context);
    } catch (error) {
      return problemResponse(problemOf(error), request);
    }
  },

  async scheduled({ scheduledTime }, env): Promise<void> {
    const store = openStore(env);
    const isTime = new Date(scheduledTime).getUTCMinutes() % SERVICES_EVERY_MINUTES === 0;
    // Sweeping an app also reconciles it: a lost alarm costs a minute.
    const report = await sweep(false, {
      store,
      sweepApp: (name, dryRun) =>
        callController(env, name, async (controller) => controller.sweep(name, dryRun)),
      sweepServices: isTime ? servicesSweep(configOf(env), store) : null,
      now: Date.now,
    });
    for (const { app, message } of report.errors) console.error(`Sweeping ${app} failed: ${message}`);
  },
} satisfies ExportedHandler<Env>;

function tablesOf(env: Env): RouteTables {
  const { routeTtlMs } = configOf(env);
  tables ??= new RouteTables({
    store: () => openStore(env),
    ttlMs: routeTtlMs,
    sharedCache: sharedTables(routeTtlMs),
  });
  return tables;
}

async function serveOwn(
  request: Request,
  place: { url: URL; host: RequestHost },
  env: Env,
  waitUntil: (work: Promise<unknown>) => void,
): Promise<Response> {
  const path = place.url.pathname;
  if (path === `${OWN_PREFIX}/healthz`) {
    return Response.json({ ok: true }, { headers: { "cache-control": "no-store" } });
  }
  const config = configOf(env);
  const store = openStore(env);
  const context: ControlContext = {
    env,
    config,
    store,
    providers: openProviders({ env, store, ...config }),
    now: Date.now,
    waitUntil,
    caller: OPERATOR,
    dashboardCaller: (asked) => dashboardCaller(asked, place, { config, store, now: Date.now }),
  };
  if (path === CONTROL_PREFIX || path.startsWith(`${CONTROL_PREFIX}/`)) return serveControl(request, context);
  if (path === `${OWN_PREFIX}/metrics`) return serveMetrics(request, context);
  if (isBrokerPath(path)) return serveBroker(request, path, context);
  return serveDashboard(request, place, context);
}

function notAHost(): Problem {
  return new Problem("invalid_request", "The Host header isn't a host name.");
}

/** The one place where an error becomes an answer. What isn't known says nothing of the inside. */
function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof StoreUnavailable) {
    return new Problem("store_unavailable", `${error.message} Nothing was lost; try again shortly.`, {
      headers: { "retry-after": "2" },
    });
  }
  if (error instanceof ConfigError) return new Problem("config_invalid", error.message);
  if (isTransient(error)) return objectUnavailable(error);
  console.error(error);
  return new Problem("internal_error", "Signalbox made a mistake. It is logged.");
}
