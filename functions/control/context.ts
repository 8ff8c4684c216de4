import type { Config } from "../config.ts";
import type { Providers } from "../providers/provider.ts";
import type { AppController } from "../rollouts/controller.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import type { StateStore } from "../state/store.ts";

/** The binding of the apps' controllers. */
export interface ControllerBinding {
  APP_CONTROLLER: DurableObjectNamespace<AppController>;
}

/** What the control API's handlers work with. */
export interface ControlContext {
  env: ControllerBinding & HubBinding;
  config: Config;
  store: StateStore;
  providers: Providers;
  now: () => number;
  waitUntil: (work: Promise<unknown>) => void;
}

/** The context travels with each request, so the router is built once. */
export interface ControlEnv {
  Bindings: { control: ControlContext };
}

/** Wakes the app's controller. If the call gets lost, the cron sweep does it within a minute. */
export function kick(context: ControlContext, app: string): void {
  context.waitUntil(
    controllerOf(context.env, app)
      .reconcile(app)
      .catch(() => undefined),
  );
}

export function controllerOf(
  env: ControllerBinding,
  app: string,
): ReturnType<ControllerBinding["APP_CONTROLLER"]["get"]> {
  return env.APP_CONTROLLER.get(env.APP_CONTROLLER.idFromName(app));
}
