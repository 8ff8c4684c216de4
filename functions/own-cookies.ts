/**
 * Cookies that are Signalbox's own on hosts that belong to apps: they never go on to an app, and no app sets them.
 * `signalbox-sign-in` is the dashboard's, `signalbox-page` the edge's, `signalbox-preview` a preview's.
 */
export const SIGN_IN_COOKIE = "signalbox-sign-in";
export const PAGE_COOKIE = "signalbox-page";
export const PREVIEW_COOKIE = "signalbox-preview";

// A cookie without a name reads like a cookie when it comes back: `=a=1` returns as `a=1`.
const PATTERN = String.raw`[\s=]*(?:__[Hh][Oo][Ss][Tt]-|__[Ss][Ee][Cc][Uu][Rr][Ee]-)?(?:${SIGN_IN_COOKIE}(?:-\d{1,5})?|${PAGE_COOKIE}|${PREVIEW_COOKIE})\s*`;
const SET_BY_APP = new RegExp(`^${PATTERN}(?:[=;]|$)`);
const IN_REQUEST = new RegExp(`(?:^|[;,])${PATTERN}(?:=[^;,]*)?(?=[;,]|$)`, "g");

/** Takes them out of the headers of a request that goes to an app. */
export function withholdOwnCookies(headers: Headers): void {
  const cookies = headers.get("cookie");
  if (cookies === null || !mentionsOne(cookies)) return;
  const kept = cookies.replace(IN_REQUEST, "").replace(/^[;,\s]+/, "");
  if (kept === "") headers.delete("cookie");
  else headers.set("cookie", kept);
}

/** Takes them out of the headers of an app's answer. */
export function refuseOwnCookies(headers: Headers): void {
  const given = headers.get("set-cookie");
  if (given === null || !mentionsOne(given)) return;
  const kept = headers.getSetCookie().filter((cookie) => !SET_BY_APP.test(cookie));
  headers.delete("set-cookie");
  for (const cookie of kept) headers.append("set-cookie", cookie);
}

function mentionsOne(text: string): boolean {
  return text.includes(SIGN_IN_COOKIE) || text.includes(PAGE_COOKIE) || text.includes(PREVIEW_COOKIE);
}
