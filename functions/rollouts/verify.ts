import { z } from "zod";
import type { Config } from "../config.ts";
import { serveApp } from "../edge/serve.ts";
import { CONTRACT_ANSWER_LIMIT_BYTES, CONTRACT_CALL_TIMEOUT_MS } from "../protocol/limits.ts";
import type { AppDocument, Deployment } from "../apps/app-document.ts";
import { textWithin } from "../answer-body.ts";
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
    if (answer.status !== 200) {
      await answer.body?.cancel();
      return { ok: false, why: `${app.config.paths.meta} answered ${answer.status}` };
    }
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
  const { status, body } = await ask(app, deployment, edge, path);
  await body?.cancel();
  const healthy = app.config.contract === "pulse" ? status === 200 : status < 400;
  return healthy ? { ok: true } : { ok: false, why: `${path} answered ${status}` };
}

function ask(app: AppDocument, deployment: Deployment, edge: EdgeAccess, path: string): Promise<Response> {
  const url = new URL(path, `https://${app.config.hosts[0] ?? `${app.name}.invalid`}`);
  const request = new Request(url, {
    // An app without the contract may have no JSON; Vite's pages are there only for those who take them.
    headers: { accept: "application/json, */*;q=0.9", "x-pulse-deployment": deployment.id },
  });
  const signal = AbortSignal.timeout(CONTRACT_CALL_TIMEOUT_MS);
  return serveApp(request, url, app, { ...edge, internal: true, pin: deployment.id, signal });
}
