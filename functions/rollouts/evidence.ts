import type { Providers } from "../providers/provider.ts";
import type { AppDocument, Deployment } from "../apps/app-document.ts";
import { probeSessions, type ContractCaller, type SessionProbe } from "../apps/contract.ts";

/**
 * Who is still there: what the backend counts, and where the provider carries its traffic, what is under way. Requests
 * under way outweigh a backend that counts nobody; that nothing is under way outweighs nothing.
 */
export async function evidence(
  app: AppDocument,
  deployment: Deployment,
  caller: ContractCaller,
  providers: Providers,
): Promise<SessionProbe> {
  // Before the backend is asked, which is a request under way itself.
  const streams = await providers[deployment.target.kind].openStreams(deployment).catch(() => null);
  const probe = await probeSessions(app, deployment, caller);
  const outweighed = probe.kind === "known" && probe.sessions === 0 && streams !== null && streams > 0;
  return outweighed ? { kind: "known", sessions: streams } : probe;
}
