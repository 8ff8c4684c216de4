import { type IncomingMessage, request, STATUS_CODES } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { ANSWER_START_BYTES, answerLine } from "../../functions/protocol/answer-line.ts";
import { type HostChoice, localHost } from "../tunnel/hosts.ts";
import { wayTo } from "../tunnel/services.ts";

/** A server that is up answers in milliseconds; a first request that compiles something takes seconds. */
const ATTEMPT_LIMIT_MS = 5_000;
const FIRST_DELAY_MS = 50;
const DELAY_LIMIT_MS = 1_000;
/** Asked where there is no health path: paths that begin so are ours, so no app has it and its answer costs nothing. */
const OWN_PATH = "/_signalbox/ready";
/** Without a path to ask, one that takes a connection and stays silent is left to those who know what to ask it. */
const SILENCES_NEEDED = 2;
/** A server may refuse everything while it starts: only a second refusal in a row counts. */
const REFUSALS_NEEDED = 2;

export interface ProbeOptions {
  port: number;
  /** The socket that leads to it, where this machine's loopback doesn't. */
  via?: string | undefined;
  healthPath: string | undefined;
  /** Which name it is asked by, as its visitors' requests are. */
  host: HostChoice;
  /** The host that visitors use, where it is known. */
  publicHost: string | null;
  /** Something takes every connection on the app's behalf, and closes those that it can't pass on. */
  isForwarded: boolean;
  limitMs: number;
  signal: AbortSignal;
}

/** `not yet`: the time is up. `never`: waiting longer can't help. */
export type Readiness = { state: "ready" } | { state: "not yet" | "never"; reason: string };

const SILENT = "said nothing";
const CLOSED = "closed it without an answer";
/** What one look saw: an answer, or what came instead of one. */
type Seen = { kind: "answer"; status: number; line: string } | { kind: "accepted" | "nothing"; why: string };

/**
 * Asks until the path answers 200 to 399. Without a path, any answer will do: some servers take connections before
 * they find that they can't start, as Next does without a build.
 */
export async function waitUntilReady(options: ProbeOptions): Promise<Readiness> {
  const { port, healthPath, signal } = options;
  const host =
    options.host === "public" && options.publicHost !== null ? options.publicHost : localHost(port);
  const deadline = performance.now() + options.limitMs;
  let seen: Seen = { kind: "nothing", why: "" };
  let refusals = 0;
  let silences = 0;
  for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(2 * delayMs, DELAY_LIMIT_MS)) {
    const remaining = Math.ceil(deadline - performance.now());
    if (remaining <= 0) return { state: "not yet", reason: describe(seen, host, options) };
    const limit = (): AbortSignal =>
      AbortSignal.any([signal, AbortSignal.timeout(Math.min(ATTEMPT_LIMIT_MS, remaining))]);
    if (healthPath === undefined) {
      seen = await ask(options, OWN_PATH, visitorHeaders(host, options), limit());
      if (seen.kind === "answer") return { state: "ready" };
      silences = seen.kind === "accepted" && seen.why === SILENT ? silences + 1 : 0;
      if (silences >= SILENCES_NEEDED) return { state: "ready" };
    } else {
      seen = await ask(options, healthPath, visitorHeaders(host, options), limit());
      if (seen.kind === "answer" && isSuccess(seen.status)) return { state: "ready" };
      refusals = (await refusesHost(seen, host, options, limit)) ? refusals + 1 : 0;
      if (refusals >= REFUSALS_NEEDED) {
        const remedy = `set "host": "local", or have the app answer to ${host}`;
        return {
          state: "never",
          reason: `${answered(healthPath, seen)} to Host ${host}, and with success to ${localHost(port)}: ${remedy}`,
        };
      }
    }
    await sleep(Math.min(delayMs, remaining), undefined, { signal });
  }
}

/** Whether it is the name alone that the app refuses: it answers well by its own. */
async function refusesHost(
  seen: Seen,
  host: string,
  options: ProbeOptions,
  limit: () => AbortSignal,
): Promise<boolean> {
  const { port, healthPath = "/" } = options;
  if (seen.kind !== "answer" || seen.status < 400 || seen.status >= 500 || host === localHost(port))
    return false;
  const locally = await ask(options, healthPath, { host: localHost(port) }, limit());
  return locally.kind === "answer" && isSuccess(locally.status);
}

function visitorHeaders(host: string, { host: choice, publicHost }: ProbeOptions): Record<string, string> {
  if (choice === "local" || publicHost === null) return { host };
  return { host, "x-forwarded-host": host, "x-forwarded-proto": "https" };
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 400;
}

function describe(
  seen: Seen,
  host: string,
  { port, healthPath, isForwarded, limitMs }: ProbeOptions,
): string {
  const within = `within ${limitMs / 1_000} s`;
  switch (seen.kind) {
    case "answer":
      return `${answered(healthPath ?? OWN_PATH, seen)} to Host ${host}, and never with success ${within}`;
    case "accepted":
      return `${healthPath ?? OWN_PATH} wasn't answered ${within}: the app took the connection on port ${port}, and ${seen.why}`;
    case "nothing":
      if (isForwarded)
        return (
          `Nothing listened on port ${port} of its own 127.0.0.1 or ::1 ${within}: ` +
          "in a sandbox the app must listen on the address in HOST and the port in PORT"
        );
      return (
        `Nothing listened on port ${port} of 127.0.0.1 or ::1 ${within}: ` +
        "the app must listen on the address in HOST and the port in PORT"
      );
  }
}

function answered(path: string, seen: Seen): string {
  if (seen.kind !== "answer") return `${path} didn't answer`;
  const name = STATUS_CODES[seen.status];
  const status = name === undefined ? String(seen.status) : `${seen.status} ${name}`;
  return `${path} answered ${status}${seen.line === "" ? "" : ` (${JSON.stringify(seen.line)})`}`;
}

function ask(
  { port, via, isForwarded }: ProbeOptions,
  path: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<Seen> {
  return new Promise((resolve) => {
    let isConnected = false;
    let hasAnswered = false;
    const asked = request({ ...wayTo({ port, via }), path, headers, agent: false, signal }, (response) => {
      hasAnswered = true;
      const status = response.statusCode ?? 0;
      const line = isSuccess(status) ? Promise.resolve("") : firstLine(response);
      resolve(line.then((text) => ({ kind: "answer", status, line: text })));
      // The rest of the body is of no interest and may never end.
      void line.finally(() => asked.destroy());
    });
    asked.on("socket", (socket) => socket.once("connect", () => (isConnected = true)));
    const fail = (why: string): void => {
      const isTheApps = isConnected && !(isForwarded && why === CLOSED);
      if (!hasAnswered) resolve({ kind: isTheApps ? "accepted" : "nothing", why });
    };
    asked.on("error", (error) => {
      if (signal.aborted) fail(SILENT);
      else if ("code" in error && String(error.code).startsWith("HPE_"))
        fail("answered something that isn't HTTP");
      else fail(CLOSED);
    });
    asked.once("close", () => fail(CLOSED));
    asked.end();
  });
}

async function firstLine(response: IncomingMessage): Promise<string> {
  let start = Buffer.alloc(0);
  try {
    for await (const chunk of response) {
      start = Buffer.concat([start, chunk as Buffer]);
      if (start.length >= ANSWER_START_BYTES) break;
    }
  } catch {
    // What has come is what there is.
  }
  return answerLine(response.headers["content-type"], start.subarray(0, ANSWER_START_BYTES).toString("utf8"));
}
