import {
  parseBuildDiff,
  parseBuildView,
  parseProjectView,
  parseUndoView,
  type BuildDiff,
  type BuildView,
  type ProjectView,
  type UndoView,
} from "../protocol/builds.ts";
import { parseStoredImage, type StoredImage } from "../protocol/images.ts";
import {
  RUNNER_SERVICE,
  runnerPaths,
  SHA256_HEADER,
  type NewAnswer,
  type NewBuild,
  type NewProject,
  type NewUndo,
  type Released,
} from "../protocol/runner-api.ts";
import { Problem } from "../errors.ts";
import { isObject } from "../protocol/control.ts";
import { fetchHub, type HubBinding } from "../runners/reach-hub.ts";
import { answerOf, callProject } from "./call-project.ts";

function parseReleased(value: unknown): Released | null {
  if (!isObject(value)) return null;
  const { kept } = value;
  return kept === null || typeof kept === "string" ? { kept } : null;
}

/** How long an agent may take to end after a cancel, with what it started. */
const END_WAIT_MS = 30_000;

/** The projects of one runner, by its own API. Throws {@link Problem}. */
export class RunnerProjects {
  readonly #env: HubBinding;
  readonly #runnerId: string;

  constructor(env: HubBinding, runnerId: string) {
    this.#env = env;
    this.#runnerId = runnerId;
  }

  /** A repeat has the same `creation`. */
  put(slug: string, creation: string, project: NewProject): Promise<ProjectView> {
    return this.#call("PUT", runnerPaths.createdProject(slug, creation), parseProjectView, { body: project });
  }

  read(slug: string): Promise<ProjectView> {
    return this.#call("GET", runnerPaths.project(slug), parseProjectView);
  }

  /** With a creation, a project of another one stays. */
  async remove(slug: string, creation: string | null = null): Promise<void> {
    const path = creation === null ? runnerPaths.project(slug) : runnerPaths.createdProject(slug, creation);
    await this.#call("DELETE", path, (value) => value, { waitMs: END_WAIT_MS });
  }

  /** Deletes it and leaves its files on the runner; answers where. Null: it had none, or is gone already. */
  async release(slug: string): Promise<string | null> {
    const options = { waitMs: END_WAIT_MS };
    try {
      return (await this.#call("POST", runnerPaths.releasedProject(slug), parseReleased, options)).kept;
    } catch (error) {
      if (error instanceof Problem && error.code === "unknown_project") return null;
      throw error;
    }
  }

  build(slug: string, build: NewBuild): Promise<BuildView> {
    return this.#call("POST", runnerPaths.builds(slug), parseBuildView, { body: build });
  }

  /** Streams it on. The runner refuses another hash than `sha256`. */
  async putImage(slug: string, request: Request, sha256: string | null): Promise<StoredImage> {
    const path = runnerPaths.images(slug);
    const call = { kind: "tunnel", runnerId: this.#runnerId, service: RUNNER_SERVICE, path } as const;
    const headers = new Headers({ "content-type": "application/octet-stream" });
    const length = request.headers.get("content-length");
    if (length !== null) headers.set("content-length", length);
    if (sha256 !== null) headers.set(SHA256_HEADER, sha256);
    const answer = await fetchHub(this.#env, call, { method: "PUT", headers, body: request.body });
    return answerOf(answer, this.#runnerId, parseStoredImage);
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

  diff(slug: string, id: string): Promise<BuildDiff> {
    return this.#call("GET", runnerPaths.buildDiff(slug, id), parseBuildDiff);
  }

  undo(slug: string, undo: NewUndo): Promise<UndoView> {
    return this.#call("POST", runnerPaths.undo(slug), parseUndoView, { body: undo, waitMs: END_WAIT_MS });
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

  #call<T>(
    method: string,
    path: string,
    parse: (value: unknown) => T | null,
    options: { body?: unknown; waitMs?: number } = {},
  ): Promise<T> {
    return callProject({ env: this.#env, runnerId: this.#runnerId }, method, path, parse, options);
  }
}
