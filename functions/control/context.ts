import type { Config } from "../config.ts";
import { callObject } from "../durable-object-call.ts";
import type { Providers } from "../providers/provider.ts";
import type { AppController } from "../rollouts/controller.ts";
import type { ChangesBinding } from "../changes/binding.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import type { StateStore } from "../state/store.ts";

/** The binding of the apps' controllers. */
export interface ControllerBinding {
  APP_CONTROLLER: DurableObjectNamespace<AppController>;
}

/** Who calls the control API. */
export interface Caller {
  /** Their name in the audit log: `operator`, or `token NAME`. */
  actor: string;
  /** What they may do; null: everything. */
  scopes: readonly string[] | null;
}

/** What the control API's handlers work with. */
export interface ControlContext {
  env: ControllerBinding & HubBinding & ChangesBinding;
  config: Config;
  store: StateStore;
  providers: Providers;
  now: () => number;
  waitUntil: (work: Promise<unknown>) => void;
  caller: Caller;
  /** Who calls from the dashboard; null: the call isn't from there. Throws for one that claims to be and isn't. */
  dashboardCaller: (request: Request) => Promise<Caller | null>;
}

/** The context travels with each request, so the router is built once. */
export interface ControlEnv {
  Bindings: { control: ControlContext };
}

/** Wakes the app's controller. If the call gets lost, the cron sweep does it within a minute. */
export function kick(context: ControlContext, app: string): void {
  context.waitUntil(
    callController(context.env, app, (controller) => controller.reconcile(app)).catch(() => undefined),
  );
}

type ControllerStub = ReturnType<ControllerBinding["APP_CONTROLLER"]["get"]>;

/** Calls an app's controller. All that it does may be asked for twice. */
export function callController<T>(
  env: ControllerBinding,
  app: string,
  send: (controller: ControllerStub) => Promise<T>,
): Promise<T> {
  const open = (): ControllerStub => env.APP_CONTROLLER.get(env.APP_CONTROLLER.idFromName(app));
  return callObject({ open, send, isRepeatable: true });
}
