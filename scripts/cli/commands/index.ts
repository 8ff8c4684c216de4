import type { Command } from "../command.ts";
import { clearCanary, setCanary } from "./canary.ts";
import { completionCommand } from "./completion.ts";
import { deleteDeployment, removeDeployment } from "./delete.ts";
import { deploy } from "./deploy.ts";
import { doctor } from "./doctor.ts";
import { ensure } from "./ensure.ts";
import { devLogs } from "./dev-logs.ts";
import { listEnv, setEnv, unsetEnv } from "./env.ts";
import { catFile, listProjectFiles, putFile, removeFile, searchProject } from "./files.ts";
import { gitDiff, gitPush, gitRemote, gitStatus, gitSync } from "./git.ts";
import { init } from "./init.ts";
import { initWorker } from "./init-worker.ts";
import { lastJanitor, runJanitor } from "./janitor.ts";
import { login } from "./login.ts";
import { logs } from "./logs.ts";
import { open } from "./open.ts";
import { pause, resume } from "./pause.ts";
import { answerBuild, build, builds, cancelBuild } from "./builds.ts";
import { previewPrivate, previewPublic, previewRevoke, previewShare } from "./preview.ts";
import {
  createProject,
  deleteProject,
  importProject,
  listProjects,
  openProject,
  showProject,
  startServer,
  stopServer,
} from "./projects.ts";
import { exportProject, moveProject, renameProject } from "./move-project.ts";
import { railwayProjects } from "./railway-projects.ts";
import { promote } from "./promote.ts";
import { redeploy } from "./redeploy.ts";
import { rollback } from "./rollback.ts";
import {
  cleanUpRunner,
  deleteRunner,
  drainRunner,
  forgetRunner,
  listRunners,
  runnerCredentials,
} from "./runners.ts";
import { diffBuild, undoBuild } from "./build-changes.ts";
import { runner } from "./runner.ts";
import { scaffold } from "./scaffold.ts";
import { status } from "./status.ts";
import { createToken, listTokens, revokeToken } from "./tokens.ts";

/** Every command, in the order of the overview. */
export const commands: readonly Command[] = [
  init,
  initWorker,
  scaffold,
  ensure,
  deploy,
  status,
  logs,
  rollback,
  promote,
  setCanary,
  clearCanary,
  pause,
  resume,
  redeploy,
  deleteDeployment,
  removeDeployment,
  runner,
  listRunners,
  drainRunner,
  cleanUpRunner,
  deleteRunner,
  forgetRunner,
  runnerCredentials,
  listProjects,
  createProject,
  importProject,
  exportProject,
  moveProject,
  renameProject,
  showProject,
  openProject,
  deleteProject,
  build,
  builds,
  cancelBuild,
  answerBuild,
  diffBuild,
  undoBuild,
  startServer,
  stopServer,
  devLogs,
  listEnv,
  setEnv,
  unsetEnv,
  listProjectFiles,
  catFile,
  putFile,
  removeFile,
  searchProject,
  gitStatus,
  gitRemote,
  gitPush,
  gitSync,
  gitDiff,
  previewShare,
  previewRevoke,
  previewPublic,
  previewPrivate,
  railwayProjects,
  runJanitor,
  lastJanitor,
  listTokens,
  createToken,
  revokeToken,
  login,
  open,
  doctor,
  completionCommand(() => commands),
];
