import { contractOf, type AppDocument, type Deployment } from "../apps/app-document.ts";
import { probeSessions, type ContractCaller, type SessionProbe } from "../apps/contract.ts";
import { countPages } from "../pages/hubs.ts";
import type { PageHubBinding } from "../pages/hub.ts";
import type { Providers } from "../providers/provider.ts";

/** From a document's first byte to its helper's socket, on a slow line. */
const PAGE_LOAD_MS = 20_000;

export interface SessionsLeftParts {
  caller: ContractCaller;
  providers: Providers;
  pages: PageHubBinding;
  tableAgeLimitMs: number;
  now: () => number;
}

/**
 * Who is still there: the backend counts its sessions, with contract `edge` the hub its pages, and a provider that carries
 * the traffic counts open streams. Open streams prove that somebody is there, whatever the others say; their absence proves
 * nothing. Where the hub counts all pages it knows better of their requests: workerd doesn't see the end of a client that
 * closes its connection while an answer is silent.
 */
export async function sessionsLeft(
  app: AppDocument,
  deployment: Deployment,
  parts: SessionsLeftParts,
): Promise<SessionProbe> {
  // Before the backend is asked: that opens a stream itself.
  const streams = await parts.providers[deployment.target.kind].openStreams(deployment).catch(() => null);
  const probe: SessionProbe & { countsAllPages?: boolean } =
    contractOf(app, deployment) === "edge"
      ? await probePages(app, deployment, parts)
      : await probeSessions(app, deployment, parts.caller);
  if (streams === null || probe.kind === "unknown" || probe.sessions > 0) return probe;
  const sessions = streams.all - (probe.countsAllPages === true ? streams.ofPages : 0);
  return { kind: "known", sessions };
}

/** Zero only where no page can be there that hasn't been counted. */
async function probePages(
  app: AppDocument,
  deployment: Deployment,
  { pages: env, tableAgeLimitMs, now }: SessionsLeftParts,
): Promise<SessionProbe & { countsAllPages?: boolean }> {
  let count: Awaited<ReturnType<typeof countPages>>;
  try {
    count = await countPages(env, { app: app.name, deployment });
  } catch {
    return { kind: "unknown", why: "the count of pages couldn't be asked" };
  }
  if (count.pages > 0) return { kind: "known", sessions: count.pages };
  const time = now();
  // An old table may have sent visitors here until then.
  const lastServedAt = Math.max(deployment.stateSince + tableAgeLimitMs, count.servedAt);
  if (time < lastServedAt + PAGE_LOAD_MS) {
    return { kind: "unknown", why: "a page may be loading that isn't counted yet" };
  }
  const idleMs = app.config.visitIdleSeconds * 1_000;
  if (app.config.stickiness === "visitor" && time < lastServedAt + idleMs) {
    return { kind: "unknown", why: "a visitor may come back to a session" };
  }
  if (time < count.uncountedAt + idleMs) {
    const at = new Date(count.uncountedAt).toISOString();
    return {
      kind: "unknown",
      why: `a page that can't be counted was there at ${at}: nobody knows whether it is open`,
    };
  }
  return { kind: "known", sessions: 0, countsAllPages: count.uncountedAt === 0 };
}
