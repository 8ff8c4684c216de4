// Over 400 lines on purpose: a method for each call of the control API, and nothing to split them by.

import { setTimeout as sleep } from "node:timers/promises";
import { hc, type ClientResponse } from "hono/client";
import type { ControlApi } from "../../functions/control/routes/index.ts";
import {
  controlFetch,
  ControlProblem,
  ControlUnreachable,
  jsonOf,
  patientFetch,
  type Reading,
  type TokenSource,
} from "./control-fetch.ts";
import type {
  AppBody,
  AppView,
  BuildDiff,
  BuildView,
  NewBuild,
  Undone,
  DeploymentBody,
  DeletedView,
  DeploymentState,
  DeploymentView,
  EnvBody,
  EnvView,
  FilesView,
  FileView,
  FoundView,
  GitBody,
  GitView,
  LogView,
  PauseBody,
  PlacementBody,
  PlacementView,
  ProblemView,
  ProjectBody,
  ProjectDetails,
  ProjectView,
  RunnerView,
  WrittenView,
  TokenBody,
  TokenView,
} from "./control-types.ts";

export { ControlProblem, ControlUnreachable } from "./control-fetch.ts";

const PAGE = 100;

type Api = ReturnType<typeof hc<ControlApi>>;

/** What a project's log is read for. */
export type LogStep = "install" | "start" | "agent" | "git";

/** An archive on its way: bytes that can be sent once. */
export interface Upload {
  body: NonNullable<RequestInit["body"]>;
  bytes: number;
  sha256: string;
}

/**
 * The client of the control API, for the command line, the local stack and the demos. Paths, bodies and answers are
 * those of the Worker's routes.
 */
export class ControlClient {
  readonly origin: string;
  readonly #base: string;
  readonly #fetch: typeof fetch;
  /** Repeats a call while the server can't be reached. */
  readonly #patient: Api;
  /** Sends a call once. */
  readonly #once: Api;

  readonly #read: Reading;

  /** `from`: who named the server, for the error when it can't be reached. */
  constructor(origin: string, token: TokenSource, { from, ...read }: Reading & { from?: string } = {}) {
    this.origin = origin;
    this.#read = read;
    this.#base = `${origin}/_signalbox/api/v1`;
    this.#fetch = controlFetch(origin, token, from);
    this.#patient = hc<ControlApi>(this.#base, { fetch: patientFetch(this.#fetch, read) });
    this.#once = hc<ControlApi>(this.#base, { fetch: this.#fetch });
  }

  /** Any call, sent once: for tests and demos, which say in full what they send. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const init = { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return jsonOf(
      await this.#fetch(this.#base + path, body === undefined ? { method } : { method, ...init }),
    );
  }

  apps(): Promise<AppView[]> {
    const page = async (query: PageQuery): Promise<AppView[]> =>
      (await this.#answer(this.#patient.apps.$get({ query }))).apps;
    return allPages(page, ({ name }) => name);
  }

  app(app: string): Promise<AppView> {
    return this.#answer(this.#patient.apps[":app"].$get({ param: encoded({ app }) }));
  }

  /** Null: there is none. */
  findApp(app: string): Promise<AppView | null> {
    return nullWithout("unknown_app", this.app(app));
  }

  putApp(app: string, config: AppBody): Promise<AppView> {
    return this.#answer(this.#patient.apps[":app"].$put({ param: encoded({ app }), json: config }));
  }

  /** Null: there is none. */
  deployment(app: string, id: string): Promise<DeploymentView | null> {
    const param = encoded({ app, id });
    return nullWithout(
      "unknown_deployment",
      this.#answer(this.#patient.apps[":app"].deployments[":id"].$get({ param })),
    );
  }

  createDeployment(app: string, body: DeploymentBody): Promise<DeploymentView> {
    return this.#answer(
      this.#patient.apps[":app"].deployments.$post({ param: encoded({ app }), json: body }),
    );
  }

  deleteDeployment(app: string, id: string): Promise<DeploymentView> {
    return this.#answer(
      this.#patient.apps[":app"].deployments[":id"].$delete({ param: encoded({ app, id }) }),
    );
  }

  promote(app: string, id: string): Promise<DeploymentView> {
    const param = encoded({ app, id });
    return this.#answer(this.#patient.apps[":app"].deployments[":id"].promote.$post({ param, json: {} }));
  }

  redeploy(app: string, id: string): Promise<DeploymentView> {
    const param = encoded({ app, id });
    return this.#answer(this.#patient.apps[":app"].deployments[":id"].redeploy.$post({ param, json: {} }));
  }

  rollback(app: string): Promise<AppView> {
    return this.#answer(this.#patient.apps[":app"].rollback.$post({ param: encoded({ app }), json: {} }));
  }

  setCanary(app: string, id: string, weight: number): Promise<AppView> {
    const json = { id, weight };
    return this.#answer(this.#patient.apps[":app"].canary.$put({ param: encoded({ app }), json }));
  }

  clearCanary(app: string): Promise<AppView> {
    return this.#answer(this.#patient.apps[":app"].canary.$delete({ param: encoded({ app }) }));
  }

  pause(app: string, pause: PauseBody): Promise<AppView> {
    return this.#answer(this.#patient.apps[":app"].pause.$post({ param: encoded({ app }), json: pause }));
  }

  resume(app: string): Promise<AppView> {
    return this.#answer(this.#patient.apps[":app"].resume.$post({ param: encoded({ app }), json: {} }));
  }

  runners(): Promise<RunnerView[]> {
    const page = async (query: PageQuery): Promise<RunnerView[]> =>
      (await this.#answer(this.#patient.runners.$get({ query }))).runners;
    return allPages(page, ({ id }) => id);
  }

  runner(id: string) {
    return this.#answer(this.#patient.runners[":id"].$get({ param: encoded({ id }) }));
  }

  drainRunner(id: string, draining: boolean): Promise<RunnerView> {
    return this.#answer(
      this.#patient.runners[":id"].drain.$post({ param: encoded({ id }), json: { draining } }),
    );
  }

  cleanUpRunner(id: string, dryRun: boolean) {
    return this.#answer(
      this.#patient.runners[":id"].cleanup.$post({ param: encoded({ id }), json: { dryRun } }),
    );
  }

  deleteRunner(id: string): Promise<RunnerView> {
    return this.#answer(this.#patient.runners[":id"].$delete({ param: encoded({ id }) }));
  }

  /** Sent once: each answer is another secret. */
  issueCredential(id: string) {
    return this.#answer(this.#once.runners[":id"].credentials.$post({ param: encoded({ id }), json: {} }));
  }

  revokeCredential(id: string): Promise<RunnerView> {
    return this.#answer(this.#patient.runners[":id"].credentials.$delete({ param: encoded({ id }) }));
  }

  async tokens(): Promise<TokenView[]> {
    return (await this.#answer(this.#patient.tokens.$get())).tokens;
  }

  createToken(json: TokenBody) {
    return this.#answer(this.#once.tokens.$post({ json }));
  }

  revokeToken(id: string): Promise<TokenView> {
    return this.#answer(this.#patient.tokens[":id"].$delete({ param: encoded({ id }) }));
  }

  projects(): Promise<ProjectView[]> {
    const page = async (query: PageQuery): Promise<ProjectView[]> =>
      (await this.#answer(this.#patient.projects.$get({ query }))).projects;
    return allPages(page, ({ slug }) => slug);
  }

  createProject(body: ProjectBody) {
    return this.#answer(this.#patient.projects.$post({ json: body }));
  }

  project(slug: string): Promise<ProjectDetails> {
    return this.#answer(this.#patient.projects[":slug"].$get({ param: encoded({ slug }) }));
  }

  changeProject(
    slug: string,
    json: { name?: string; public?: boolean; slug?: string },
  ): Promise<ProjectView> {
    return this.#answer(this.#patient.projects[":slug"].$patch({ param: encoded({ slug }), json }));
  }

  /** `keep` leaves its files on the runner. */
  deleteProject(slug: string, files: "delete" | "keep" = "delete") {
    return this.#answer(
      this.#patient.projects[":slug"].$delete({ param: encoded({ slug }), query: { files } }),
    );
  }

  startServer(slug: string): Promise<ProjectDetails> {
    const call = this.#patient.projects[":slug"]["dev-server"];
    return this.#answer(call.$post({ param: encoded({ slug }), json: {} }));
  }

  stopServer(slug: string): Promise<ProjectDetails> {
    return this.#answer(this.#patient.projects[":slug"]["dev-server"].$delete({ param: encoded({ slug }) }));
  }

  sharePreview(slug: string, seconds: number, more: { port?: number; once?: boolean } = {}) {
    const call = this.#patient.projects[":slug"].preview;
    return this.#answer(call.$post({ param: encoded({ slug }), json: { seconds, ...more } }));
  }

  revokePreview(slug: string): Promise<ProjectView> {
    return this.#answer(this.#patient.projects[":slug"].preview.$delete({ param: encoded({ slug }) }));
  }

  env(slug: string): Promise<EnvView> {
    return this.#answer(this.#patient.projects[":slug"].env.$get({ param: encoded({ slug }) }));
  }

  setEnv(slug: string, json: EnvBody): Promise<EnvView> {
    return this.#answer(this.#patient.projects[":slug"].env.$put({ param: encoded({ slug }), json }));
  }

  unsetEnv(slug: string, name: string): Promise<EnvView> {
    const call = this.#patient.projects[":slug"].env[":name"];
    return this.#answer(call.$delete({ param: encoded({ slug, name }) }));
  }

  files(slug: string, path: string): Promise<FilesView> {
    const call = this.#patient.projects[":slug"].files;
    return this.#answer(call.$get({ param: encoded({ slug }), query: { path } }));
  }

  readFile(slug: string, path: string): Promise<FileView> {
    const call = this.#patient.projects[":slug"].files[":path"];
    return this.#answer(call.$get({ param: encoded({ slug, path }), query: {} }));
  }

  writeFile(slug: string, path: string, json: { content: string; encoding: "utf8" | "base64" }) {
    const call = this.#patient.projects[":slug"].files[":path"];
    const written = this.#answer(call.$put({ param: encoded({ slug, path }), json }));
    return written satisfies Promise<WrittenView>;
  }

  deleteFile(slug: string, path: string): Promise<DeletedView> {
    const call = this.#patient.projects[":slug"].files[":path"];
    return this.#answer(call.$delete({ param: encoded({ slug, path }) }));
  }

  searchFiles(slug: string, query: { name?: string; text?: string; path?: string }): Promise<FoundView> {
    return this.#answer(this.#patient.projects[":slug"].search.$get({ param: encoded({ slug }), query }));
  }

  git(slug: string): Promise<GitView> {
    return this.#answer(this.#patient.projects[":slug"].git.$get({ param: encoded({ slug }) }));
  }

  setRemote(slug: string, json: GitBody): Promise<GitView> {
    return this.#answer(this.#patient.projects[":slug"].git.$put({ param: encoded({ slug }), json }));
  }

  gitPush(slug: string, message: string | undefined): Promise<GitView> {
    const call = this.#patient.projects[":slug"].git.push;
    const json = message === undefined ? {} : { message };
    return this.#answer(call.$post({ param: encoded({ slug }), json }));
  }

  gitSync(slug: string): Promise<GitView> {
    return this.#answer(
      this.#patient.projects[":slug"].git.sync.$post({ param: encoded({ slug }), json: {} }),
    );
  }

  gitDiff(slug: string) {
    return this.#answer(this.#patient.projects[":slug"].git.diff.$get({ param: encoded({ slug }) }));
  }

  moveProject(slug: string, runnerId: string) {
    const call = this.#patient.projects[":slug"].move;
    return this.#answer(call.$post({ param: encoded({ slug }), json: { runnerId } }));
  }

  /** The project as a gzipped tar. */
  async exportProject(slug: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const call = this.#once.projects[":slug"].export;
    const { body } = await call.$get({ param: encoded({ slug }) }, { init: { signal } });
    if (body === null) throw new ControlUnreachable("The server answered without the archive.");
    return body;
  }

  projectLogs(slug: string, cursor: number, step?: LogStep): Promise<LogView> {
    const query = { cursor: String(cursor), ...(step === undefined ? {} : { step }) };
    const call = this.#patient.projects[":slug"].logs;
    // The route's other answer is the stream of `followProjectLogs`.
    return this.#answer(call.$get({ param: encoded({ slug }), query })) as Promise<LogView>;
  }

  /** What a project's processes write as server-sent events, each of them a page. */
  async followProjectLogs(
    slug: string,
    lastId: string | null,
    signal: AbortSignal,
    step?: LogStep,
  ): Promise<ReadableStream<Uint8Array> | null> {
    const query = { follow: "1" as const, ...(step === undefined ? {} : { step }) };
    const call = this.#once.projects[":slug"].logs;
    return streamOf(await call.$get({ param: encoded({ slug }), query }, streaming(lastId, signal)));
  }

  createBuild(slug: string, json: NewBuild): Promise<BuildView> {
    return this.#answer(this.#patient.projects[":slug"].builds.$post({ param: encoded({ slug }), json }));
  }

  /** For a build of this project to name. */
  uploadImage(slug: string, image: Uint8Array<ArrayBuffer>, sha256: string) {
    const call = this.#once.projects[":slug"].images;
    const header = { "x-signalbox-sha256": sha256 };
    const headers = { ...header, "content-type": "application/octet-stream" };
    return this.#answer(call.$put({ param: encoded({ slug }), header }, { headers, init: { body: image } }));
  }

  build(id: string): Promise<BuildView> {
    return this.#answer(this.#patient.builds[":id"].$get({ param: encoded({ id }) }));
  }

  cancelBuild(id: string): Promise<BuildView> {
    return this.#answer(this.#patient.builds[":id"].cancel.$post({ param: encoded({ id }), json: {} }));
  }

  answerBuild(id: string, request: string, option: string | null): Promise<BuildView> {
    const call = this.#patient.builds[":id"].answers[":request"];
    return this.#answer(call.$post({ param: encoded({ id, request }), json: { option } }));
  }

  buildDiff(id: string): Promise<BuildDiff> {
    return this.#answer(this.#patient.builds[":id"].diff.$get({ param: encoded({ id }) }));
  }

  undo(slug: string, json: { build?: string; changed?: "refuse" | "keep" | "overwrite" }): Promise<Undone> {
    return this.#answer(this.#patient.projects[":slug"].undo.$post({ param: encoded({ slug }), json }));
  }

  /** A build's events as server-sent events, after the event `lastId`; null: everything was sent before. */
  async buildEvents(
    id: string,
    lastId: string | null,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array> | null> {
    const call = this.#once.builds[":id"].events;
    return streamOf(await call.$get({ param: encoded({ id }) }, streaming(lastId, signal)));
  }

  /** Sent once: each is a run. */
  runJanitor(dryRun: boolean) {
    return this.#answer(this.#once.janitor.run.$post({ json: { dryRun } }));
  }

  lastJanitor() {
    return this.#answer(this.#patient.janitor.last.$get());
  }

  logs(app: string, id: string, cursor: number): Promise<LogView> {
    const query = { cursor: String(cursor) };
    const call = this.#patient.apps[":app"].deployments[":id"].logs;
    // The route's other answer is the stream of `followLogs`.
    return this.#answer(call.$get({ param: encoded({ app, id }), query })) as Promise<LogView>;
  }

  /** A deployment's progress as server-sent events, after the event `lastId`; null: everything was sent before. */
  async events(
    app: string,
    id: string,
    lastId: string | null,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array> | null> {
    const call = this.#once.apps[":app"].deployments[":id"].events;
    return streamOf(await call.$get({ param: encoded({ app, id }) }, streaming(lastId, signal)));
  }

  /** What changes from now on, as server-sent events; a server from before has none. */
  async changes(signal: AbortSignal): Promise<ReadableStream<Uint8Array> | null> {
    return streamOf(await this.#once.events.$get({ query: {} }, streaming(null, signal)));
  }

  /** A deployment's log as server-sent events, each of them a page. */
  async followLogs(
    app: string,
    id: string,
    lastId: string | null,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array> | null> {
    const call = this.#once.apps[":app"].deployments[":id"].logs;
    const query = { follow: "1" as const };
    return streamOf(await call.$get({ param: encoded({ app, id }), query }, streaming(lastId, signal)));
  }

  /** Which runner a deployment would go to, and whether it has the source. */
  place(wish: PlacementBody): Promise<PlacementView> {
    return this.#answer(this.#patient.placements.$post({ json: wish }));
  }

  /** Sent once, since its bytes can't be sent again. Answers what the runner stored. */
  uploadToRunner(runner: string, upload: Upload, signal?: AbortSignal) {
    const call = this.#once.runners[":id"].sources;
    // The runner refuses what arrives damaged.
    const header = { "x-signalbox-sha256": upload.sha256 };
    return this.#answer(call.$put({ param: encoded({ id: runner }), header }, uploading(upload, signal)));
  }

  /** The same to Railway, for a deployment that waits for its source. */
  uploadToRailway(app: string, id: string, upload: Upload, signal?: AbortSignal) {
    const call = this.#once.apps[":app"].deployments[":id"].source;
    return this.#answer(call.$put({ param: encoded({ app, id }) }, uploading(upload, signal)));
  }

  /** The version of the server's API; it says that without a token. */
  async apiVersion(): Promise<string> {
    const document = (await jsonOf(await this.#fetch(`${this.#base}/openapi.json`))) as {
      info?: { title?: string; version?: string };
    } | null;
    if (document?.info?.title !== "Signalbox control API") {
      throw new ControlUnreachable(`${this.origin} answers, but not as Signalbox does.`);
    }
    return document.info.version ?? "";
  }

  /** Waits until a deployment is in one of the states; throws when it fails or takes too long. */
  /** What a call succeeds with; its `fetch` has thrown for all else. */
  async #answer<R extends ClientResponse<unknown>>(call: Promise<R>): Promise<Success<R>> {
    return (await jsonOf(await call, this.#read)) as Success<R>;
  }

  async until(
    app: string,
    id: string,
    states: DeploymentState[],
    timeoutMs: number,
  ): Promise<DeploymentView> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const deployment = await this.deployment(app, id);
      if (deployment && states.includes(deployment.state)) return deployment;
      if (deployment?.state === "failed")
        throw new Error(`Deployment ${id} failed: ${deployment.failure?.reason ?? ""}`);
      if (Date.now() > deadline)
        throw new Error(`Deployment ${id} is still ${deployment?.state ?? "unknown"}.`);
      await sleep(100);
    }
  }
}

type Success<R> = R extends ClientResponse<infer Body, number, "json"> ? Exclude<Body, ProblemView> : never;

/** The client puts them into the path as they are. */
function encoded<P extends Record<string, string>>(parameters: P): P {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, value]) => [name, encodeURIComponent(value)]),
  ) as P;
}

function streaming(lastId: string | null, signal: AbortSignal) {
  const headers = { accept: "text/event-stream", ...(lastId === null ? {} : { "last-event-id": lastId }) };
  return { headers, init: { signal } };
}

function streamOf(response: {
  status: number;
  body: ReadableStream<Uint8Array> | null;
}): ReadableStream<Uint8Array> | null {
  return response.status === 204 ? null : response.body;
}

function uploading({ body, bytes, sha256 }: Upload, signal: AbortSignal | undefined) {
  const headers = {
    "content-type": "application/gzip",
    "content-length": String(bytes),
    "x-signalbox-sha256": sha256,
  };
  // A large source takes as long as it takes: no timeout.
  return {
    headers,
    init: { body, duplex: "half" as const, signal: signal ?? new AbortController().signal },
  };
}

interface PageQuery {
  limit: string;
  after?: string;
}

async function allPages<T>(
  page: (query: PageQuery) => Promise<T[]>,
  cursor: (item: T) => string,
): Promise<T[]> {
  const all: T[] = [];
  for (let last: T | undefined; ;) {
    const after = last === undefined ? {} : { after: cursor(last) };
    const items = await page({ limit: String(PAGE), ...after });
    all.push(...items);
    last = items.at(-1);
    if (items.length < PAGE || last === undefined) return all;
  }
}

async function nullWithout<T>(code: string, found: Promise<T>): Promise<T | null> {
  try {
    return await found;
  } catch (error) {
    if (error instanceof ControlProblem && error.code === code) return null;
    throw error;
  }
}
