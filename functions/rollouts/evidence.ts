import type { Providers } from "../providers/provider.ts";
import type { AppDocument, Deployment } from "../apps/app-document.ts";
import { probeSessions, type ContractCaller, type SessionProbe } from "../apps/contract.ts";

/**
 * Who is still there: the backend counts its sessions, and a provider that carries the traffic counts open streams.
 * Open streams prove that somebody is there, whatever the backend says; their absence proves nothing.
 */
export async function evidence(
  app: AppDocument,
  deployment: Deployment,
  caller: ContractCaller,
  providers: Providers,
): Promise<SessionProbe> {
  // Before the backend is asked: that opens a stream itself.
  const streams = await providers[deployment.target.kind].openStreams(deployment).catch(() => null);
  const probe = await probeSessions(app, deployment, caller);
  const outweighed = probe.kind === "known" && probe.sessions === 0 && streams !== null && streams > 0;
  return outweighed ? { kind: "known", sessions: streams } : probe;
}
