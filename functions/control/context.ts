import type { Config, Env } from "../config.ts";
import type { Providers } from "../providers/provider.ts";
import type { StateStore } from "../state/store.ts";

/** What every route of the control API works with. */
export interface ControlContext {
  env: Env;
  config: Config;
  store: StateStore;
  providers: Providers;
  now: () => number;
  waitUntil: (work: Promise<unknown>) => void;
}

/** Hono's environment: the context travels with each request, so that the router is built once. */
export interface ControlEnv {
  Bindings: { control: ControlContext };
}

/** Has an app's controller look at once at what was just written. Lost calls are made good by the cron sweep. */
export function kick(context: ControlContext, app: string): void {
  context.waitUntil(
    controllerOf(context.env, app)
      .reconcile(app)
      .catch(() => undefined),
  );
}

export function controllerOf(env: Env, app: string): ReturnType<Env["APP_CONTROLLER"]["get"]> {
  return env.APP_CONTROLLER.get(env.APP_CONTROLLER.idFromName(app));
}
