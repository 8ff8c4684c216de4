import type { AppDocument } from "../apps/app-document.ts";
import type { BuildLog } from "../providers/provider.ts";

/** Where a rollout says what it does. */
export interface Progress {
  /** Takes every document that the driver sees, so that no state goes unreported. */
  observe(app: AppDocument): void;
  step(deploymentId: string, step: StepName, status: StepStatus, detail: string): void;
  /** Where the provider's build output goes. */
  buildLog(deploymentId: string): BuildLog;
}

export type StepName =
  "provision" | "verify" | "promote" | "redeploy" | "reload" | "unroute" | "remove" | "clean-up";
export type StepStatus = "started" | "waiting" | "done" | "failed";
