import type { Caller, ControlContext } from "../control/context.ts";
import { OPERATOR } from "../control/caller.ts";
import { Problem } from "../errors.ts";
import type { RequestHost } from "../request-host.ts";
import { isPlainText, requireDashboardHost } from "./place.ts";
import { requireSameOrigin } from "./same-origin.ts";
import { findSignIn, KEY_HEADER } from "./sign-in.ts";

/**
 * The signed-in operator, where a page of the dashboard calls the control API; null where the request doesn't say that it is
 * one. Only the dashboard's own host knows the cookie, and only its own origin may use it.
 */
export async function dashboardCaller(
  request: Request,
  { url, host }: { url: URL; host: RequestHost },
  { config, store, now }: Pick<ControlContext, "config" | "store" | "now">,
): Promise<Caller | null> {
  if (request.headers.get(KEY_HEADER) === null || request.headers.has("authorization")) return null;
  await requireDashboardHost(url, host, { config, store });
  if (isPlainText(url, config)) throw new Problem("unauthorized", "Sign in over HTTPS.");
  requireSameOrigin(request, url);
  if ((await findSignIn(request, { config, store, now, authority: host.authority })) === null) {
    throw new Problem("unauthorized", "You are not signed in, or no longer.");
  }
  return OPERATOR;
}
