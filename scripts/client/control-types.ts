import type { z } from "zod";
import type {
  credentialView,
  placementBody,
  placementView,
  runnerDetails,
  runnerView,
} from "../../functions/control/runner-schemas.ts";
import type {
  appBody,
  appView,
  deploymentBody,
  deploymentView,
  logView,
  pauseBody,
  problemView,
} from "../../functions/control/schemas.ts";
import type {
  buildBody,
  buildDiff,
  buildView,
  undoView,
  projectBody,
  projectDetails,
  projectView,
} from "../../functions/control/project-schemas.ts";
import type {
  deletedView,
  envBody,
  envView,
  filesView,
  fileView,
  gitBody,
  gitView,
  foundView,
  writtenView,
} from "../../functions/control/workspace-schemas.ts";
import type { tokenBody, tokenView } from "../../functions/control/token-schemas.ts";
import type { reportSchema } from "../../functions/janitor/report.ts";

/** What the control API takes and gives, by its own validators. */

export type AppBody = z.input<typeof appBody>;
export type AppView = z.infer<typeof appView>;
export type DeploymentBody = z.input<typeof deploymentBody>;
export type DeploymentView = z.infer<typeof deploymentView>;
export type DeploymentState = DeploymentView["state"];
export type LogView = z.infer<typeof logView>;
export type PauseBody = z.input<typeof pauseBody>;
export type PlacementBody = z.input<typeof placementBody>;
export type PlacementView = z.infer<typeof placementView>;
export type ProblemView = z.infer<typeof problemView>;
export type RunnerView = z.infer<typeof runnerView>;
export type RunnerDetails = z.infer<typeof runnerDetails>;
export type CredentialView = z.infer<typeof credentialView>;
export type NewBuild = z.input<typeof buildBody>;
export type BuildDiff = z.infer<typeof buildDiff>;
export type Undone = z.infer<typeof undoView>;
export type BuildView = z.infer<typeof buildView>;
export type ProjectBody = z.input<typeof projectBody>;
export type ProjectDetails = z.infer<typeof projectDetails>;
export type ProjectView = z.infer<typeof projectView>;
export type EnvBody = z.input<typeof envBody>;
export type EnvView = z.infer<typeof envView>;
export type GitBody = z.input<typeof gitBody>;
export type GitView = z.infer<typeof gitView>;
export type FilesView = z.infer<typeof filesView>;
export type FileView = z.infer<typeof fileView>;
export type FoundView = z.infer<typeof foundView>;
export type WrittenView = z.infer<typeof writtenView>;
export type DeletedView = z.infer<typeof deletedView>;
export type TokenBody = z.input<typeof tokenBody>;
export type TokenView = z.infer<typeof tokenView>;
export type JanitorReport = z.infer<typeof reportSchema>;
export interface JanitorLast {
  stale: boolean;
  report: JanitorReport | null;
}
