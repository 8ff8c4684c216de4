import type { Command } from "../../functions/protocol/control.ts";
import type { AnswerEvent } from "../connection/commands.ts";
import type { Project } from "../projects/project.ts";
import { RunnerError } from "../runner-error.ts";

/** Source: what GitHub allows in names of owners and repositories. */
const REPOSITORY = /^[\w-][\w.-]{0,99}\/[\w-][\w.-]{0,99}$/;

/** SentryVibe's `github-push` and `github-sync`: the project's git with a repository of GitHub as its remote. */
export async function onGitHub(project: Project, { type, payload }: Command): Promise<AnswerEvent> {
  const { git, devServer, view } = project;
  const { repo, branch = "main", commitMessage = "Changes from Signalbox" } = payload;
  if (typeof repo !== "string" || !REPOSITORY.test(repo))
    throw new RunnerError("invalid_request", "A repository is OWNER/NAME.", "repo");
  if (typeof branch !== "string" || typeof commitMessage !== "string")
    throw new RunnerError("invalid_request", "Branch and message must be text.", "branch");
  const { pushAfterBuild } = git.remote;
  await git.configure({ remote: git.addressOnGitHub(repo), branch, pushAfterBuild });
  await (type === "github-push" ? git.push(commitMessage) : git.sync());
  const { commit } = await git.state();
  return {
    type: "project-metadata",
    payload: {
      path: project.directory,
      projectType: view.framework ?? "other",
      runCommand: devServer.command,
      port: view.devServer.port,
      detectedFramework: view.framework,
      slug: view.slug,
      friendlyName: view.name,
      github: { repo, branch, commit },
    },
  };
}
