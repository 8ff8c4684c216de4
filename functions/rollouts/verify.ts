import { z } from "zod";
import type { Config } from "../config.ts";
import { serveApp } from "../edge/serve.ts";
import { CONTRACT_ANSWER_LIMIT_BYTES, CONTRACT_CALL_TIMEOUT_MS } from "../protocol/limits.ts";
import { ANSWER_START_BYTES, answerLine } from "../protocol/answer-line.ts";
import type { AppDocument, Deployment } from "../apps/app-document.ts";
import { textStart, textWithin } from "../answer-body.ts";
import { describeFailure, type FetchTarget } from "../apps/contract.ts";
import type { Verification } from "./steps.ts";

/** What the edge serves with. */
export interface EdgeAccess {
  config: Config;
  fetchTarget: FetchTarget;
}

const metaAnswer = z.object({ deployment_id: z.string() });

/**
 * Asks a deployment through the router, pinned, the way a visitor would come: does it answer, and is it the one that
 * it should be? Never throws.
 */
export async function verify(
  app: AppDocument,
  deployment: Deployment,
  edge: EdgeAccess,
): Promise<Verification> {
  try {
    if (app.config.contract === "none") return await answers(app, deployment, edge, app.config.healthPath);
    const answer = await ask(app, deployment, edge, app.config.paths.meta);
    if (answer.status !== 200)
      return { ok: false, why: await describeAnswer(app, deployment, edge, app.config.paths.meta, answer) };
    const meta = metaAnswer.safeParse(JSON.parse(await textWithin(answer, CONTRACT_ANSWER_LIMIT_BYTES)));
    if (!meta.success) return { ok: false, why: `${app.config.paths.meta} holds no deployment_id` };
    if (meta.data.deployment_id !== deployment.id) {
      const said = JSON.stringify(meta.data.deployment_id.slice(0, 64));
      return {
        ok: false,
        why: `the backend says that it is deployment ${said}; set PULSE_DEPLOYMENT_ID=${deployment.id} on it`,
      };
    }
    return await answers(app, deployment, edge, app.config.paths.health);
  } catch (error) {
    return { ok: false, why: `the backend ${describeFailure(error)}` };
  }
}

async function answers(
  app: AppDocument,
  deployment: Deployment,
  edge: EdgeAccess,
  path: string,
): Promise<Verification> {
  const answer = await ask(app, deployment, edge, path);
  const healthy = app.config.contract === "pulse" ? answer.status === 200 : answer.status < 400;
  if (!healthy) return { ok: false, why: await describeAnswer(app, deployment, edge, path, answer) };
  await answer.body?.cancel();
  return { ok: true };
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
