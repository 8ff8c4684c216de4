import { Failure } from "./failure.ts";

/** What the Worker's OIDC_TRUST expects unless it says otherwise. */
const AUDIENCE = "signalbox";
/** GitHub's tokens are good for five minutes; a rollout is followed for longer. */
const KEPT_MS = 120_000;
const ANSWER_LIMIT_MS = 20_000;

/** Gives signed tokens of the GitHub workflow that this runs in; null: it isn't one, or it may not have them. */
export function workflowTokens(env: Record<string, string | undefined>): (() => Promise<string>) | null {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: address, ACTIONS_ID_TOKEN_REQUEST_TOKEN: own } = env;
  if (!address || !own) return null;
  let kept: { token: string; at: number } | null = null;
  return async () => {
    if (kept !== null && performance.now() - kept.at < KEPT_MS) return kept.token;
    kept = { token: await ask(address, own), at: performance.now() };
    return kept.token;
  };
}

async function ask(address: string, own: string): Promise<string> {
  try {
    const url = new URL(address);
    url.searchParams.set("audience", AUDIENCE);
    const answer = await fetch(url, {
      headers: { authorization: `Bearer ${own}` },
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    const { value } = (await answer.json()) as { value?: unknown };
    if (answer.ok && typeof value === "string") return value;
    throw new Error(`it answered ${answer.status}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure(
      "unauthorized",
      "no_workflow_token",
      `GitHub gave this workflow no signed token: ${why}.`,
    );
  }
}
