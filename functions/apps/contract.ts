import { z } from "zod";
import { AnswerTooLarge, textWithin } from "../answer-body.ts";
import { CONTRACT_ANSWER_LIMIT_BYTES, CONTRACT_CALL_TIMEOUT_MS } from "../protocol/limits.ts";
import { contractOf, type AppDocument, type Deployment } from "./app-document.ts";

/**
 * `fetch`, but it also reaches backends that have no address on the network. `whole`: the request to send a copy of,
 * with what `init` says changed in it; the only way to send a GET or HEAD with a body.
 */
export type FetchBackend = (url: string, init: RequestInit, whole?: Request) => Promise<Response>;

/** How Signalbox speaks to a backend on its own behalf. */
export interface ContractCaller {
  internalToken: string;
  fetchBackend: FetchBackend;
}

/** What a backend said about its sessions; `unknown` is never zero. */
export type SessionProbe = { kind: "known"; sessions: number } | { kind: "unknown"; why: string };

const sessionsAnswer = z.object({ render_session_count: z.number().int().nonnegative() });
const reloadAnswer = z.object({ reloaded_socket_count: z.number().int().nonnegative() });

/** Asks a backend how many live sessions it has. Never throws: what isn't a clear number is `unknown`. */
export async function probeSessions(
  app: AppDocument,
  deployment: Deployment,
  caller: ContractCaller,
): Promise<SessionProbe> {
  if (contractOf(app, deployment) === "none") {
    return { kind: "unknown", why: "the app has no contract that says how many sessions there are" };
  }
  const answer = await call(deployment, app.config.paths.sessions, "GET", caller);
  if (!answer.ok) return { kind: "unknown", why: answer.why };
  const parsed = sessionsAnswer.safeParse(answer.json);
  if (!parsed.success) return { kind: "unknown", why: "the answer holds no render_session_count" };
  return { kind: "known", sessions: parsed.data.render_session_count };
}

/** Has a backend tell its browsers to reload. Returns how many sockets heard it, or null with the reason why not. */
export async function tellReload(
  app: AppDocument,
  deployment: Deployment,
  caller: ContractCaller,
): Promise<{ sockets: number | null; why: string }> {
  if (contractOf(app, deployment) === "none") return { sockets: null, why: "the app has no contract" };
  const answer = await call(deployment, app.config.paths.reload, "POST", caller);
  if (!answer.ok) return { sockets: null, why: answer.why };
  const parsed = reloadAnswer.safeParse(answer.json);
  if (!parsed.success) return { sockets: null, why: "the answer holds no reloaded_socket_count" };
  return { sockets: parsed.data.reloaded_socket_count, why: "" };
}

type Answer = { ok: true; json: unknown } | { ok: false; why: string };

async function call(
  deployment: Deployment,
  path: string,
  method: string,
  { internalToken, fetchBackend }: ContractCaller,
): Promise<Answer> {
  if (deployment.url === null) return { ok: false, why: "the deployment has no address" };
  try {
    const response = await fetchBackend(deployment.url + path, {
      method,
      redirect: "manual",
      headers: { "x-pulse-railway-internal-token": internalToken, accept: "application/json" },
      signal: AbortSignal.timeout(CONTRACT_CALL_TIMEOUT_MS),
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      return { ok: false, why: `${path} answered ${response.status}` };
    }
    return { ok: true, json: JSON.parse(await textWithin(response, CONTRACT_ANSWER_LIMIT_BYTES)) };
  } catch (error) {
    return { ok: false, why: `${path} ${describeFailure(error)}` };
  }
}

export function describeFailure(error: unknown): string {
  if (error instanceof SyntaxError) return "answered something that isn't JSON";
  if (error instanceof AnswerTooLarge) return "answered more than an app contract can need";
  if (error instanceof Error && error.name === "TimeoutError") return "didn't answer in time";
  return "couldn't be reached";
}
