import type { z } from "zod";
import type { runnerDetails, runnerView } from "../../control/runner-schemas.ts";
import type { appView, auditView, deploymentDetails, deploymentView } from "../../control/schemas.ts";
import type { tokenCreated, tokenView } from "../../control/token-schemas.ts";
import type { reportSchema } from "../../janitor/report.ts";

/** What the control API gives, by its own validators. */

export type App = z.infer<typeof appView>;
export type Deployment = z.infer<typeof deploymentView>;
export type DeploymentDetails = z.infer<typeof deploymentDetails>;
export type Target = Deployment["target"];
export type Runner = z.infer<typeof runnerView>;
export type RunnerDetails = z.infer<typeof runnerDetails>;
export type AuditEntry = z.infer<typeof auditView>;
export type Token = z.infer<typeof tokenView>;
export type TokenCreated = z.infer<typeof tokenCreated>;
export type JanitorReport = z.infer<typeof reportSchema>;
