import { identify, isSignedToken } from "../access/oidc.ts";
import { isAllowed } from "../access/scopes.ts";
import { judgeToken, noteUse } from "../access/tokens.ts";
import { bearerToken, requireBearer, requireLookedUp } from "../auth.ts";
import { clientAddress } from "../client-address.ts";
import { Problem } from "../errors.ts";
import { ACCESS_TOKEN_PATTERN } from "../protocol/access.ts";
import type { Caller, ControlContext } from "./context.ts";

export const OPERATOR: Caller = { actor: "operator", scopes: null };

const REMEDY = "Send the control token or an access token: `Authorization: Bearer CONTROL_TOKEN`.";

/** Throws as `requireBearer` does. */
export async function requireCaller(
  request: Request,
  { config, store, now, waitUntil, dashboardCaller }: ControlContext,
): Promise<Caller> {
  const operator = await dashboardCaller(request);
  if (operator !== null) return operator;
  const client = clientAddress(request, config) ?? "";
  const token = bearerToken(request);
  if (token !== null && config.oidcTrust.length > 0 && isSignedToken(token)) {
    const remedy = "This signed token is forged, has expired, or is of nobody in OIDC_TRUST.";
    const known = await requireLookedUp(client, remedy, () => identify(token, config.oidcTrust, now()));
    return { actor: `workflow ${known.name}`, scopes: known.scopes };
  }
  if (token === null || !ACCESS_TOKEN_PATTERN.test(token)) {
    await requireBearer(request, config.controlToken, client, REMEDY);
    return OPERATOR;
  }
  const record = await requireLookedUp(
    client,
    "This access token is unknown, was revoked or has expired.",
    () => judgeToken(store, token, now()),
  );
  waitUntil(noteUse(store, record, now()).catch(() => undefined)); // the next use is noted, then
  return { actor: `token ${record.name}`, scopes: record.scopes };
}

/** Throws `insufficient_scope` for what the caller may not do. `path` is as the router has it. */
export function requireScope({ scopes }: Caller, method: string, path: string): void {
  if (scopes === null || isAllowed(scopes, method, path)) return;
  throw new Problem(
    "insufficient_scope",
    `This access token is for ${scopes.join(", ")}, which doesn't include ${method} ${path}.`,
    { headers: { "www-authenticate": 'Bearer realm="signalbox", error="insufficient_scope"' } },
  );
}
