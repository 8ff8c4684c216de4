import type { RailwaySettings } from "../../config.ts";
import type { AppDocument, Deployment } from "../../apps/app-document.ts";
import { Problem } from "../../errors.ts";
import { RailwayError } from "../../railway/error.ts";
import { uploadSource } from "../../railway/upload.ts";
import type { SourceArchive } from "../../runners/source-archive.ts";
import { installationIdOf } from "../../state/installation-id.ts";
import type { StateStore } from "../../state/store.ts";
import { problemOf } from "./provider.ts";
import { RailwayAccess } from "./access.ts";
import { RolloutMemories } from "./memory.ts";
import { isPrepared } from "./rollout.ts";
import { RailwayStep } from "./step.ts";

/** How long a source may come before its service: the rollout makes it in a few seconds. */
const SERVICE_WAIT_MS = 30_000;
const FIRST_LOOK_MS = 500;
const LOOK_LIMIT_MS = 5_000;
/** The body's own limit at a slow line's speed. */
const UPLOAD_LIMIT_MS = 15 * 60_000;

/**
 * Passes a source on to its deployment's service on Railway, which builds it. The rollout sees the build there, even if
 * this process dies before it can answer. A source that has arrived isn't sent again.
 */
export async function sendSource(
  given: {
    railway: RailwaySettings;
    internalToken: string;
    store: StateStore;
    app: AppDocument;
    deployment: Deployment;
    /** Throws once the deployment takes no source any more; asked while its service is waited for. */
    stillTaken: () => Promise<void>;
  },
  archive: SourceArchive,
): Promise<{ deploymentId: string }> {
  const { app, deployment, internalToken } = given;
  const { target } = deployment;
  if (target.kind !== "railway" || target.upload !== true) throw new Error("It takes no source");
  const access = new RailwayAccess(given.railway);
  const memory = new RolloutMemories().of(app, deployment);
  const installation = installationIdOf(given.store);
  const signal = AbortSignal.timeout(SERVICE_WAIT_MS + UPLOAD_LIMIT_MS);
  const step = new RailwayStep({
    access,
    internalToken,
    installation,
    app,
    deployment,
    target,
    memory,
    signal,
  });
  try {
    const there = await serviceOf(step, given.stillTaken);
    if (there.deploymentId !== null) {
      await archive.body.cancel();
      return { deploymentId: there.deploymentId };
    }
    const place = { ...(await step.place()), service: there.service };
    const sent = await uploadSource(access.client, place, archive.body, {
      contentLength: archive.length,
      signal,
    });
    return { deploymentId: sent.deploymentId };
  } catch (error) {
    archive.check();
    throw error instanceof RailwayError ? problemOf(error) : error;
  }
}

async function serviceOf(
  step: RailwayStep,
  stillTaken: () => Promise<void>,
): Promise<{ service: string; deploymentId: string | null }> {
  const deadline = Date.now() + SERVICE_WAIT_MS;
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(LOOK_LIMIT_MS, pauseMs * 2)) {
    const mine = await step.seek();
    if (mine) {
      const latest = mine.serviceInstance.latestDeployment;
      if (latest) return { service: mine.service.id, deploymentId: latest.id };
      if (isPrepared(step, mine)) return { service: mine.service.id, deploymentId: null };
    }
    if (Date.now() + pauseMs > deadline) throw notYet(step.app.name, step.deployment.id);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    await stillTaken();
  }
}

function notYet(app: string, id: string): Problem {
  return new Problem(
    "source_not_expected",
    `The service of deployment ${id} of app ${app} isn't there yet on Railway; its events say why. Try again shortly.`,
    { headers: { "retry-after": "5" } },
  );
}
