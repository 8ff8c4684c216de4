import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type {
  AppBody,
  AppView,
  CredentialView,
  DeploymentBody,
  DeploymentState,
  DeploymentView,
  JanitorLast,
  JanitorReport,
  LogView,
  PauseBody,
  RunnerDetails,
  RunnerView,
} from "./control-types.ts";

/** The longest that an answer may take; the janitor's run and a slow store are the longest there are. */
const CALL_TIMEOUT_MS = 60_000;
/** Attempts of a call that may be repeated, and the pause after the first. */
const ATTEMPTS = 4;
const RETRY_FIRST_MS = 250;
/** Answers that say: not now. */
const PASSING_STATUSES = [502, 503, 504];
const PAGE = 100;

/** A problem that the control API answered with. */
export class ControlProblem extends Error {
  override name = "ControlProblem";
  readonly status: number;
  readonly code: string;
  /** The fields of the request that it is about. */
  readonly fields: string[];

  constructor(status: number, code: string, detail: string, fields: string[] = []) {
    super(detail);
    this.status = status;
    this.code = code;
    this.fields = fields;
  }
}

/** Nobody answered, or somebody that isn't Signalbox. */
export class ControlUnreachable extends Error {
  override name = "ControlUnreachable";
}

interface CallOptions {
  /** Mutations that are repeated under one key happen once. */
  key?: string;
  signal?: AbortSignal;
}

/** The client of the control API, for the command line, the local stack and the demos. */
export class ControlClient {
  readonly origin: string;
  readonly #base: string;
  readonly #token: string;

  constructor(origin: string, token: string) {
    this.origin = origin;
    this.#base = `${origin}/_signalbox/api/v1`;
    this.#token = token;
  }

  /** Any call. Answers parsed JSON; throws {@link ControlProblem} for anything but success. */
  call(method: string, path: string, body?: unknown): Promise<unknown> {
    return this.#send(method, path, body, {});
  }

  /** Sends bytes as they are. */
  async put(
    path: string,
    body: NonNullable<RequestInit["body"]>,
    headers: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const init = { method: "PUT", headers, body, duplex: "half" as const, ...(signal ? { signal } : {}) };
    return answerOf(await this.#fetch(path, init));
  }

  apps(): Promise<AppView[]> {
    return this.#pages<AppView>("/apps", "apps", ({ name }) => name);
  }

  app(app: string): Promise<AppView> {
    return this.#read(`/apps/${segment(app)}`);
  }

  async findApp(app: string): Promise<AppView | null> {
    return absent("unknown_app", this.app(app));
  }

  putApp(app: string, config: AppBody): Promise<AppView> {
    return this.#change("PUT", `/apps/${segment(app)}`, config);
  }

  /** Null: there is none. */
  deployment(app: string, id: string): Promise<DeploymentView | null> {
    return absent("unknown_deployment", this.#read<DeploymentView>(deploymentPath(app, id)));
  }

  createDeployment(app: string, body: DeploymentBody, key?: string): Promise<DeploymentView> {
    return this.#change("POST", `/apps/${segment(app)}/deployments`, body, key);
  }

  deleteDeployment(app: string, id: string): Promise<DeploymentView> {
    return this.#change("DELETE", deploymentPath(app, id));
  }

  promote(app: string, id: string): Promise<DeploymentView> {
    return this.#change("POST", `${deploymentPath(app, id)}/promote`);
  }

  redeploy(app: string, id: string): Promise<DeploymentView> {
    return this.#change("POST", `${deploymentPath(app, id)}/redeploy`);
  }

  rollback(app: string): Promise<AppView> {
    return this.#change("POST", `/apps/${segment(app)}/rollback`);
  }

  setCanary(app: string, id: string, weight: number): Promise<AppView> {
    return this.#change("PUT", `/apps/${segment(app)}/canary`, { id, weight });
  }

  clearCanary(app: string): Promise<AppView> {
    return this.#change("DELETE", `/apps/${segment(app)}/canary`);
  }

  pause(app: string, pause: PauseBody): Promise<AppView> {
    return this.#change("POST", `/apps/${segment(app)}/pause`, pause);
  }

  resume(app: string): Promise<AppView> {
    return this.#change("POST", `/apps/${segment(app)}/resume`);
  }

  runners(): Promise<RunnerView[]> {
    return this.#pages<RunnerView>("/runners", "runners", ({ id }) => id);
  }

  runner(id: string): Promise<RunnerDetails> {
    return this.#read(`/runners/${segment(id)}`);
  }

  drainRunner(id: string, draining: boolean): Promise<RunnerView> {
    return this.#change("POST", `/runners/${segment(id)}/drain`, { draining });
  }

  forgetRunner(id: string): Promise<RunnerView> {
    return this.#change("DELETE", `/runners/${segment(id)}`);
  }

  /** Not repeated: each answer is another secret. */
  issueCredential(id: string): Promise<CredentialView> {
    return this.#once("POST", `/runners/${segment(id)}/credentials`);
  }

  revokeCredential(id: string): Promise<RunnerView> {
    return this.#change("DELETE", `/runners/${segment(id)}/credentials`);
  }

  runJanitor(dryRun: boolean): Promise<JanitorReport> {
    return this.#once("POST", "/janitor/run", { dryRun });
  }

  lastJanitor(): Promise<JanitorLast> {
    return this.#read("/janitor/last");
  }

  /** A deployment's progress as server-sent events, after the event `lastId`; null: everything was sent before. */
  events(app: string, id: string, lastId: string | null, signal: AbortSignal): Promise<Response | null> {
    return this.#stream(`${deploymentPath(app, id)}/events`, lastId, signal);
  }

  logs(app: string, id: string, cursor: number): Promise<LogView> {
    return this.#read(`${deploymentPath(app, id)}/logs?cursor=${cursor}`);
  }

  /** A deployment's log as server-sent events, each of them a page. */
  followLogs(app: string, id: string, lastId: string | null, signal: AbortSignal): Promise<Response | null> {
    return this.#stream(`${deploymentPath(app, id)}/logs?follow=1`, lastId, signal);
  }

  /** What the server says its API is, without a token. */
  async apiVersion(): Promise<string> {
    const document = await this.#read<{ info?: { title?: string; version?: string } }>("/openapi.json");
    if (document.info?.title !== "Signalbox control API") {
      throw new ControlUnreachable(`${this.origin} answers, but not as Signalbox does.`);
    }
    return document.info.version ?? "";
  }

  /** Waits until a deployment is in one of the states; throws when it fails or takes too long. */
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

  /** The types are those that the API validates its own answers by; a field that it lacks would be a bug there. */
  #read<T>(path: string): Promise<T> {
    return patiently(() => this.#send("GET", path, undefined, {})) as Promise<T>;
  }

  /** A mutation that answers the same way when it is repeated, so a lost answer isn't a lost change. */
  #change<T>(method: string, path: string, body?: unknown, key: string = randomUUID()): Promise<T> {
    return patiently(() => this.#send(method, path, body, { key })) as Promise<T>;
  }

  #once<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.#send(method, path, body, {}) as Promise<T>;
  }

  async #stream(path: string, lastId: string | null, signal: AbortSignal): Promise<Response | null> {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (lastId !== null) headers["last-event-id"] = lastId;
    const response = await this.#fetch(path, { headers, signal });
    if (response.status === 204) return null;
    if (!response.ok) await answerOf(response);
    return response;
  }

  async #pages<T>(path: string, field: string, cursor: (item: T) => string): Promise<T[]> {
    const all: T[] = [];
    for (let after = ""; ;) {
      const query = after === "" ? "" : `&after=${encodeURIComponent(after)}`;
      const page = await this.#read<Record<string, T[]>>(`${path}?limit=${PAGE}${query}`);
      const items = page[field] ?? [];
      all.push(...items);
      const last = items.at(-1);
      if (items.length < PAGE || last === undefined) return all;
      after = cursor(last);
    }
  }

  async #send(method: string, path: string, body: unknown, options: CallOptions): Promise<unknown> {
    const headers: Record<string, string> = {};
    if (body !== undefined) headers["content-type"] = "application/json";
    if (options.key !== undefined) headers["idempotency-key"] = options.key;
    return answerOf(
      await this.#fetch(path, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
      }),
    );
  }

  async #fetch(
    path: string,
    { headers, ...init }: Omit<RequestInit, "headers"> & { headers: Record<string, string> },
  ): Promise<Response> {
    try {
      return await fetch(this.#base + path, {
        redirect: "error",
        ...init,
        headers: { authorization: `Bearer ${this.#token}`, ...headers },
      });
    } catch (error) {
      if (init.signal?.aborted === true && !(init.signal.reason instanceof DOMException)) throw error;
      throw new ControlUnreachable(`${this.origin} can't be reached: ${causeOf(error)}`);
    }
  }
}

async function answerOf(response: Response): Promise<unknown> {
  let text: string;
  try {
    text = await response.text();
  } catch (error) {
    throw new ControlUnreachable(`${response.url} broke off its answer: ${causeOf(error)}`);
  }
  let parsed: unknown;
  try {
    parsed = text === "" ? null : JSON.parse(text);
  } catch {
    parsed = undefined; // said below, with the status
  }
  if (response.ok && parsed !== undefined) return parsed;
  const code = field(parsed, "code");
  if (code === "") {
    const origin = new URL(response.url).origin;
    throw new ControlUnreachable(`${origin} answers ${response.status}, but not as Signalbox does.`);
  }
  throw new ControlProblem(response.status, code, field(parsed, "detail"), fieldsOf(parsed));
}

/** Repeats what can be repeated while the answer is "not now", or none. */
async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      const passes =
        error instanceof ControlUnreachable ||
        (error instanceof ControlProblem && PASSING_STATUSES.includes(error.status));
      if (!passes || attempt === ATTEMPTS) throw error;
      await sleep(RETRY_FIRST_MS * 2 ** (attempt - 1));
    }
  }
}

async function absent<T>(code: string, found: Promise<T>): Promise<T | null> {
  try {
    return await found;
  } catch (error) {
    if (error instanceof ControlProblem && error.code === code) return null;
    throw error;
  }
}

function deploymentPath(app: string, id: string): string {
  return `/apps/${segment(app)}/deployments/${segment(id)}`;
}

function segment(text: string): string {
  return encodeURIComponent(text);
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const { cause } = error;
  if (cause instanceof AggregateError) return causeOf(cause.errors[0]);
  return cause instanceof Error ? cause.message || cause.name : error.message;
}

function field(value: unknown, name: string): string {
  return value !== null && typeof value === "object" && name in value ? String(Reflect.get(value, name)) : "";
}

function fieldsOf(value: unknown): string[] {
  if (value === null || typeof value !== "object" || !("errors" in value)) return [];
  return Array.isArray(value.errors) ? value.errors.map((error) => field(error, "field")) : [];
}
