import type { RailwaySettings } from "../config.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import type { StateStore } from "../state/store.ts";
import type { Providers } from "./provider.ts";
import { railwayProvider } from "./railway/provider.ts";
import { runnerProvider } from "./runner.ts";
import { urlProvider } from "./url.ts";

export function openProviders(parts: {
  env: HubBinding;
  store: StateStore;
  allowPrivateTargets: boolean;
  internalToken: string;
  railway: RailwaySettings | null;
}): Providers {
  return { url: urlProvider(parts), runner: runnerProvider(parts), railway: railwayProvider(parts) };
}
