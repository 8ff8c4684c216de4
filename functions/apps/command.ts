import type { ProblemCode } from "../errors.ts";
import type { AppConfig, AppDocument, Contract, Target } from "./app-document.ts";

/** Everything that can happen to an app. Times come from the caller, so that a transition is a pure function. */
export type AppCommand =
  | { type: "configure"; config: AppConfig }
  | { type: "create"; id: string; name: string; target: Target; promote: boolean }
  | { type: "provisioned"; id: string; url: string; resources: Record<string, string> }
  | { type: "verified"; id: string; contract: Contract }
  | { type: "fail"; id: string; code: string; reason: string }
  | { type: "cleaned-up"; id: string }
  | { type: "promote"; id: string }
  | { type: "auto-promote"; id: string }
  | { type: "rollback" }
  | { type: "redeploy"; id: string }
  | { type: "redeploy-provisioned"; id: string; url: string; resources: Record<string, string> }
  | { type: "redeploy-finished"; id: string }
  | { type: "set-canary"; id: string; weight: number }
  | { type: "clear-canary" }
  | {
      type: "pause";
      mode: "hold" | "refuse";
      message: string;
      retryAfterSeconds: number;
      maxHoldSeconds: number;
    }
  | { type: "resume" }
  | { type: "set-minimum"; id: string | null }
  | { type: "retire"; id: string; reason: "drained" | "deadline" | "deleted" | "expired" }
  | { type: "spare"; id: string }
  | { type: "reload-told"; id: string; sockets: number | null }
  | { type: "unroute"; id: string }
  | { type: "removed"; id: string }
  | { type: "delete-app" };

/** Why a command can't be carried out. The app is unchanged. */
export interface Refusal {
  code: RefusalCode;
  message: string;
}

export type RefusalCode = Extract<
  ProblemCode,
  | "unknown_deployment"
  | "deployment_exists"
  | "too_many_deployments"
  | "active_deployment"
  | "already_active"
  | "not_ready"
  | "deployment_retiring"
  | "deployment_finished"
  | "wrong_state"
  | "no_previous_deployment"
  | "no_active_deployment"
  | "below_minimum"
  | "already_paused"
  | "not_paused"
  | "no_canary"
  | "redeploy_in_progress"
  | "app_deleting"
  | "app_too_large"
>;

export type Transition = { ok: true; app: AppDocument } | { ok: false; refusal: Refusal };
