import { parseAppDocument, type AppDocument, type Deployment } from "../apps/app-document.ts";
import { applyCommand } from "../apps/commit.ts";
import type { SessionProbe } from "../apps/contract.ts";
import type { StateStore } from "../state/store.ts";
import { decide } from "./decide.ts";
import type { Decision } from "./report.ts";

/** Probes at once; a Worker may wait for six answers' headers at a time. */
const PROBES_AT_ONCE = 6;

/** Looks at each draining deployment of an app, decides, and unless `dryRun` starts what was decided. */
export async function sweepApp(
  name: string,
  context: {
    store: StateStore;
    sessionsLeft: (app: AppDocument, deployment: Deployment) => Promise<SessionProbe>;
    now: () => number;
    dryRun: boolean;
  },
): Promise<Decision[]> {
  const stored = await context.store.readApp(name);
  if (stored === null) return [];
  const app = parseAppDocument(stored.body);
  const draining = Object.values(app.deployments).filter((deployment) => deployment.state === "draining");
  const decisions: Decision[] = [];
  for (let start = 0; start < draining.length; start += PROBES_AT_ONCE) {
    const batch = draining.slice(start, start + PROBES_AT_ONCE);
    decisions.push(...(await Promise.all(batch.map((deployment) => judge(app, deployment, context)))));
  }
  return decisions;
}

async function judge(
  app: AppDocument,
  deployment: Deployment,
  context: Parameters<typeof sweepApp>[1],
): Promise<Decision> {
  const pastDeadline = deployment.drainDeadline !== null && context.now() >= deployment.drainDeadline;
  const probe: SessionProbe = pastDeadline
    ? { kind: "unknown", why: "not asked: its time is over" }
    : await context.sessionsLeft(app, deployment);
  const decision = decide(app, deployment, probe, context.now());
  if (decision.action === "keep" || context.dryRun) return decision;
  const reason = decision.reason === "deadline_passed" ? "deadline" : "drained";
  const command = { type: "retire", id: deployment.id, reason } as const;
  const author = { actor: "janitor", action: "deployment.retire" };
  // The command is judged on the document as it is now, not as it was before the probe.
  const result = await applyCommand(context.store, app.name, command, author, { now: context.now });
  if (result.kind === "applied") return decision;
  const detail = result.kind === "refused" ? result.refusal.message : "the app is gone";
  return { ...decision, action: "keep", reason: "no_longer_draining", detail };
}
