import { newAppDocument, appConfig, type Deployment } from "../../functions/apps/app-document.ts";
import { runnerOrigin } from "../../functions/runners/origin.ts";
import type { StateStore } from "../../functions/state/store.ts";

/** Writes an app whose active deployment is a service of a runner, as the runner provider will leave it. */
export async function putRunnerApp(
  store: StateStore,
  given: { app: string; host: string; runnerId: string; service: string },
): Promise<void> {
  const now = Date.now();
  const { app, host, runnerId, service } = given;
  const deployment: Deployment = {
    id: "v1",
    name: "v1",
    sequence: 1,
    state: "active",
    stateSince: now,
    createdAt: now,
    target: { kind: "url", url: "https://runner.invalid" },
    promoteWhenReady: true,
    contract: "none",
    url: runnerOrigin(runnerId, service),
    resources: {},
    deadline: null,
    drainDeadline: null,
    retirement: null,
    redeploy: null,
    failure: null,
    cleanedUp: false,
  };
  const document = newAppDocument(app, appConfig.parse({ hosts: [host] }), now);
  const body = JSON.stringify({
    ...document,
    nextSequence: 2,
    active: "v1",
    deployments: { v1: deployment },
  });
  const audit = { at: now, app, actor: "test", action: "test", fromVersion: null, toVersion: 1, details: {} };
  const result = await store.commit({
    app,
    expectedVersion: 0,
    body,
    hosts: [host],
    isDefault: false,
    hasWork: false,
    audit,
    idempotencyRecord: null,
  });
  if (result.outcome !== "committed") throw new Error(`The app wasn't written: ${result.outcome}`);
}
