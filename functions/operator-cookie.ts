import { SIGN_IN_COOKIE } from "./own-cookies.ts";

/** The dashboard's cookie. Cookies reach every port of a host, so the name says which port the cookie is for. */
export function operatorCookieName(secure: boolean, port: string): string {
  return `${secure ? "__Host-" : ""}${SIGN_IN_COOKIE}${port === "" ? "" : `-${port}`}`;
}
