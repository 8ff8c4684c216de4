import { Problem, type ProblemCode } from "../errors.ts";
import { parseBuildView, parseProjectView, type BuildView, type ProjectView } from "../protocol/builds.ts";
import {
  parseRunnerRefusal,
  runnerPaths,
  type NewAnswer,
  type NewBuild,
  type NewProject,
} from "../protocol/runner-api.ts";
import { callRunner } from "../runners/call-runner.ts";
import type { HubBinding } from "../runners/reach-hub.ts";

/** How long an agent may take to end after a cancel, with what it started. */
const END_WAIT_MS = 30_000;

/** How a runner's refusals are called here. Others are `runner_failed`. */
const REFUSALS: Record<string, ProblemCode> = {
  invalid_request: "invalid_request",
  invalid_project: "invalid_request",
  project_not_found: "unknown_project",
  build_not_found: "unknown_build",
  question_not_found: "unknown_question",
  too_many_builds: "too_many_builds",
  draining: "runner_draining",
  disk_full: "target_refused",
};

/** The projects of one runner, by its own API. Throws {@link Problem}. */
export class RunnerProjects {
  readonly #env: HubBinding;
  readonly #runnerId: string;

  constructor(env: HubBinding, runnerId: string) {
    this.#env = env;
    this.#runnerId = runnerId;
  }

  put(slug: string, project: NewProject): Promise<ProjectView> {
    return this.#call("PUT", runnerPaths.project(slug), parseProjectView, { body: project });
  }

  read(slug: string): Promise<ProjectView> {
    return this.#call("GET", runnerPaths.project(slug), parseProjectView);
  }

  async remove(slug: string): Promise<void> {
    await this.#call("DELETE", runnerPaths.project(slug), (value) => value, { waitMs: END_WAIT_MS });
  }

  build(slug: string, build: NewBuild): Promise<BuildView> {
    return this.#call("POST", runnerPaths.builds(slug), parseBuildView, { body: build });
  }

  readBuild(slug: string, id: string): Promise<BuildView> {
    return this.#call("GET", runnerPaths.build(slug, id), parseBuildView);
  }

  cancel(slug: string, id: string, by: string): Promise<BuildView> {
    return this.#call("POST", runnerPaths.cancelBuild(slug, id), parseBuildView, {
      body: { by },
      waitMs: END_WAIT_MS,
    });
  }

  answer(slug: string, id: string, request: string, answer: NewAnswer): Promise<BuildView> {
    return this.#call("POST", runnerPaths.answerBuild(slug, id, request), parseBuildView, { body: answer });
  }

  startServer(slug: string): Promise<ProjectView> {
    return this.#call("POST", runnerPaths.devServer(slug), parseProjectView);
  }

  /** For a visitor of the preview. */
  wakeServer(slug: string): Promise<ProjectView> {
    return this.#call("POST", runnerPaths.visitedDevServer(slug), parseProjectView);
  }

  stopServer(slug: string): Promise<ProjectView> {
    return this.#call("DELETE", runnerPaths.devServer(slug), parseProjectView, { waitMs: END_WAIT_MS });
  }

  async #call<T>(
    method: string,
    path: string,
    parse: (value: unknown) => T | null,
    options: { body?: unknown; waitMs?: number } = {},
  ): Promise<T> {
    const answer = await callRunner(this.#env, this.#runnerId, method, path, options);
    if (answer.kind === "unreachable") throw answer.problem;
    const { status, json } = answer;
    if (status >= 200 && status < 300) {
      const value = parse(json);
      if (value !== null) return value;
    }
    const refusal = parseRunnerRefusal(json);
    if (refusal === null) {
      throw new Problem(
        "runner_failed",
        `Runner ${this.#runnerId} answered ${status}, which makes no sense here.`,
      );
    }
    const { code, detail, field } = refusal;
    const errors = field === undefined ? {} : { errors: [{ field, message: detail }] };
    throw new Problem(REFUSALS[code] ?? "runner_failed", detail, errors);
  }
}
