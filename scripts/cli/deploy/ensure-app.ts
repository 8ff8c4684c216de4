import type { ControlClient } from "../../client/control-client.ts";
import type { AppBody, AppView } from "../../client/control-types.ts";
import type { Plan } from "./plan.ts";

/** Creates the app, or changes what the plan says differently; null: it is as it should be. */
export async function ensureApp(
  control: ControlClient,
  { app: name, appConfig }: Plan,
): Promise<"created" | "changed" | null> {
  const app = await control.findApp(name);
  if (app === null) {
    const others = await control.apps();
    // The first app of a server answers wherever nothing else does.
    await control.putApp(name, { ...appConfig, default: others.length === 0 });
    return "created";
  }
  const same = Object.entries(appConfig).every(
    ([field, value]) => JSON.stringify(app[field as keyof AppView]) === JSON.stringify(value),
  );
  if (same) return null;
  await control.putApp(name, { ...configOf(app), ...appConfig });
  return "changed";
}

/** PUT replaces the configuration whole, so the rest goes along. */
function configOf(app: AppView): AppBody {
  const {
    hosts,
    contract,
    paths,
    healthPath,
    drainTtlSeconds,
    previousRetentionSeconds,
    readyTtlSeconds,
    verifyTimeoutSeconds,
    reloadGraceSeconds,
    stickiness,
    visitIdleSeconds,
  } = app;
  return {
    hosts,
    contract,
    paths,
    healthPath,
    drainTtlSeconds,
    previousRetentionSeconds,
    readyTtlSeconds,
    verifyTimeoutSeconds,
    reloadGraceSeconds,
    stickiness,
    visitIdleSeconds,
    default: app.default,
  };
}
