import type { Env } from "../config.ts";
import type { StateStore } from "../state/store.ts";
import type { Providers } from "./provider.ts";
import { railwayProvider } from "./railway.ts";
import type { RailwaySettings } from "./railway-access.ts";
import { runnerProvider } from "./runner.ts";
import { urlProvider } from "./url.ts";

export function openProviders(parts: {
  env: Pick<Env, "RUNNER_HUB">;
  store: StateStore;
  allowPrivateTargets: boolean;
  internalToken: string;
  railway: RailwaySettings | null;
}): Providers {
  return { url: urlProvider(parts), runner: runnerProvider(parts), railway: railwayProvider(parts) };
}
