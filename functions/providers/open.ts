import type { Target } from "../deployments/app-document.ts";
import type { Provider } from "./provider.ts";
import { urlProvider } from "./url.ts";

/** One provider for each kind of target; a new kind doesn't compile until it is here. */
export type Providers = Record<Target["kind"], Provider>;

export function openProviders(settings: { allowPrivateTargets: boolean }): Providers {
  return { url: urlProvider(settings) };
}
