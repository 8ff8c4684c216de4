import { z } from "zod";
import type { Config } from "../config.ts";
import { serveApp } from "../edge/serve.ts";
import { CONTRACT_ANSWER_LIMIT_BYTES, CONTRACT_CALL_TIMEOUT_MS } from "../protocol/limits.ts";
import { ANSWER_START_BYTES, answerLine } from "../protocol/answer-line.ts";
import { contractOf, type AppDocument, type Contract, type Deployment } from "../apps/app-document.ts";
import { AnswerTooLarge, textStart, textWithin } from "../answer-body.ts";
import { describeFailure, type FetchBackend } from "../apps/contract.ts";
import type { Verification } from "./steps.ts";

/** What the edge serves with. */
export interface EdgeAccess {
  config: Config;
  fetchBackend: FetchBackend;
}

const metaAnswer = z.object({ deployment_id: z.string() });

/** What a proxy in front of a backend says while there is none yet. */
const NOT_UP_YET = new Set([502, 503, 504]);
/** A server that is there all the same, though it wants something else: a name that it knows, another time. */
const UNFIT = new Set([400, 403, 408, 421, 425, 429]);
/** What Railway answers in the place of a service that isn't up. */
const STAND_IN_HEADER = "x-railway-fallback";

/**
 * Asks a deployment through the router, pinned, the way a visitor would come: does it answer, and which contract does it
 * keep? Never throws.
 */
export async function verify(
  app: AppDocument,
  deployment: Deployment,
  edge: EdgeAccess,
): Promise<Verification> {
  try {
    const asked = contractOf(app, deployment);
    if (asked === "none" || asked === "edge") return await answers(app, deployment, edge, asked);
    const answer = await ask(app, deployment, edge, app.config.paths.meta);
    const said = await readMeta(answer);
    if (said === null && asked === null && !isNotUp(answer)) {
      if (answer.status !== 200) await answer.body?.cancel();
      return await answers(app, deployment, edge, "edge");
    }
    if (answer.status !== 200)
      return { ok: false, why: await describeAnswer(app, deployment, edge, app.config.paths.meta, answer) };
    if (said === null) return { ok: false, why: `${app.config.paths.meta} holds no deployment_id` };
    if (said !== deployment.id) {
      return {
        ok: false,
        why:
          `the backend says that it is deployment ${JSON.stringify(said.slice(0, 64))}; ` +
          `set PULSE_DEPLOYMENT_ID=${deployment.id} on it`,
      };
    }
    return await answers(app, deployment, edge, "pulse");
  } catch (error) {
    return { ok: false, why: `the backend ${describeFailure(error)}` };
  }
}

/** The id in an answer of the meta endpoint; null where it isn't one. Reads the body of a 200 only. */
async function readMeta(answer: Response): Promise<string | null> {
  if (answer.status !== 200) return null;
  const text = await textWithin(answer, CONTRACT_ANSWER_LIMIT_BYTES).catch((error: unknown) => {
    // Pages of servers that answer every path with one.
    if (error instanceof AnswerTooLarge) return "";
    throw error;
  });
  try {
    return metaAnswer.safeParse(JSON.parse(text)).data?.deployment_id ?? null;
  } catch {
    return null; // not JSON, so nobody who knows the contract
  }
}

async function answers(
  app: AppDocument,
  deployment: Deployment,
  edge: EdgeAccess,
  contract: Contract,
): Promise<Verification> {
  const path = contract === "pulse" ? app.config.paths.health : app.config.healthPath;
  const answer = await ask(app, deployment, edge, path);
  if (!isHealthy(answer, contract, path))
    return { ok: false, why: await describeAnswer(app, deployment, edge, path, answer) };
  await answer.body?.cancel();
  return { ok: true, contract };
}

/**
 * With `edge`, `/` needn't be there, and may be behind a sign-in: redirects, 401, 404 and the like come from an HTTP server
 * that works. 403 doesn't count: more often than a sign-in it is a server that refuses the name it was asked under. A path
 * that an operator has named has to answer below 400.
 */
function isHealthy(answer: Response, contract: Contract, path: string): boolean {
  const { status } = answer;
  if (contract === "pulse") return status === 200;
  if (contract === "none" || path !== "/") return status < 400;
  return status < 500 && !UNFIT.has(status) && !answer.headers.has(STAND_IN_HEADER);
}

function isNotUp({ status, headers }: Response): boolean {
  return NOT_UP_YET.has(status) || headers.has(STAND_IN_HEADER);
}

/** Statuses by which servers refuse a name that they don't know: Django 400, Vite 403, HTTP itself 421. */
const NAME_REFUSALS = new Set([400, 403, 421]);

async function describeAnswer(
  app: AppDocument,
  { target }: Deployment,
  { config }: EdgeAccess,
  path: string,
  answer: Response,
): Promise<string> {
  const line = answerLine(
    answer.headers.get("content-type"),
    await textStart(answer, ANSWER_START_BYTES).catch(() => ""),
  );
  const said = `${path} answered ${answer.status}${line === "" ? "" : ` (${JSON.stringify(line)})`}`;
  if (answer.status === 403 && path === "/" && target.kind !== "runner")
    return `${said}; where that is a sign-in, set healthPath to a path that is open`;
  if (!NAME_REFUSALS.has(answer.status) || target.kind !== "runner" || target.host === "local") return said;
  return `${said} to Host ${publicHost(app, config)}; an app that answers to localhost alone needs "host": "local" in its target`;
}

/** A host that visitors use. */
function publicHost({ name, config: { hosts } }: AppDocument, { appDomain }: Config): string {
  return hosts[0] ?? `${name}.${appDomain ?? "invalid"}`;
}

function ask(app: AppDocument, deployment: Deployment, edge: EdgeAccess, path: string): Promise<Response> {
  const url = new URL(path, `https://${publicHost(app, edge.config)}`);
  const request = new Request(url, {
    // An app without the contract may have no JSON; Vite's pages are there only for those who take them.
    headers: { accept: "application/json, */*;q=0.9", "x-pulse-deployment": deployment.id },
  });
  const signal = AbortSignal.timeout(CONTRACT_CALL_TIMEOUT_MS);
  return serveApp(request, url, app, { ...edge, internal: true, pin: deployment.id, signal });
}
