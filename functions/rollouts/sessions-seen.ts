import type { AppDocument, Deployment } from "../apps/app-document.ts";
import type { SessionProbe } from "../apps/contract.ts";

/** Each costs a call or two, every 2 s. */
const LOOKED_AT_LIMIT = 12;

export interface SessionsSeen {
  id: string;
  /** Null: unknown, and `why` says so. */
  sessions: number | null;
  why: string | null;
}

/** The newest deployments that serve somebody, and how many they serve now. */
export async function seeSessions(
  app: AppDocument,
  sessionsLeft: (app: AppDocument, deployment: Deployment) => Promise<SessionProbe>,
): Promise<SessionsSeen[]> {
  const serving = Object.values(app.deployments)
    .filter(({ id, state }) => state === "active" || state === "draining" || id === app.canary?.id)
    .sort((one, other) => other.sequence - one.sequence)
    .slice(0, LOOKED_AT_LIMIT);
  return Promise.all(
    serving.map(async (deployment) => {
      const probe = await sessionsLeft(app, deployment);
      return probe.kind === "known"
        ? { id: deployment.id, sessions: probe.sessions, why: null }
        : { id: deployment.id, sessions: null, why: probe.why };
    }),
  );
}
