/**
 * The dashboard's cookie, as the edge knows it: it never goes on to an app, and no app sets it. Cookies reach every
 * port of a host, so the name says which port the cookie is for.
 */
export function operatorCookieName(secure: boolean, port: string): string {
  return `${secure ? "__Host-" : ""}${NAME}${port === "" ? "" : `-${port}`}`;
}

const NAME = "signalbox-sign-in";
// A cookie without a name reads like a cookie when it comes back: `=a=1` returns as `a=1`.
const PATTERN = String.raw`[\s=]*(?:__[Hh][Oo][Ss][Tt]-|__[Ss][Ee][Cc][Uu][Rr][Ee]-)?${NAME}(?:-\d{1,5})?\s*`;
const SET_BY_APP = new RegExp(`^${PATTERN}(?:[=;]|$)`);
const IN_REQUEST = new RegExp(`(?:^|[;,])${PATTERN}(?:=[^;,]*)?(?=[;,]|$)`, "g");

/** Takes it out of the headers of a request that goes to an app. */
export function withholdOperatorCookie(headers: Headers): void {
  const cookies = headers.get("cookie");
  if (cookies === null || !cookies.includes(NAME)) return;
  const kept = cookies.replace(IN_REQUEST, "").replace(/^[;,\s]+/, "");
  if (kept === "") headers.delete("cookie");
  else headers.set("cookie", kept);
}

/** Takes it out of the headers of an app's answer. */
export function refuseOperatorCookie(headers: Headers): void {
  if (headers.get("set-cookie")?.includes(NAME) !== true) return;
  const kept = headers.getSetCookie().filter((cookie) => !SET_BY_APP.test(cookie));
  headers.delete("set-cookie");
  for (const cookie of kept) headers.append("set-cookie", cookie);
}
