import { parseProjectEnv, type NewEnvVariable, type ProjectEnv } from "../protocol/project-env.ts";
import { workspacePaths } from "../protocol/workspace-api.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import { callProject } from "./call-project.ts";

/** Sets variables of a project, which its runner keeps. */
export function setEnv(
  env: HubBinding,
  runnerId: string,
  slug: string,
  variables: readonly NewEnvVariable[],
): Promise<ProjectEnv> {
  const options = { body: { variables } };
  return callProject({ env, runnerId }, "PUT", workspacePaths.env(slug), parseProjectEnv, options);
}
