import { PAGE_COOKIE } from "../own-cookies.ts";
import type { RequestUrl } from "./url.ts";

/** Which deployment the page comes from that was loaded last. */
export interface PageCookie {
  id: string;
  /** When that page was loaded, epoch seconds; null where the app's visitors don't stay beyond a page. */
  loadedAt: number | null;
}

const EACH = new RegExp(`(?:^|;)\\s*${PAGE_COOKIE}=([^;]*)`, "g");
const VALUE = /^([a-z0-9][a-z0-9-]{0,23})(?:\.(\d{1,11}))?$/;

/** Null where there is none, or where several differ: a page of a sibling domain can set one beside ours. */
export function pageCookieOf(request: Request, names: ReadonlySet<string>): PageCookie | null {
  if (!names.has("cookie")) return null;
  const cookies = request.headers.get("cookie");
  if (cookies === null || !cookies.includes(PAGE_COOKIE)) return null;
  const values = new Set<string>();
  for (const [, value = ""] of cookies.matchAll(EACH)) values.add(value.trim());
  const [only = ""] = values;
  const [, id, loadedAt] = (values.size === 1 && VALUE.exec(only)) || [];
  if (id === undefined) return null;
  return { id, loadedAt: loadedAt === undefined ? null : Number(loadedAt) };
}

/**
 * Names the deployment of a page and nothing else: no visitor, no visit. It ends with the browser's session; until then
 * what it names may have been deleted, and it counts as none.
 */
export function setPageCookie(headers: Headers, { id, loadedAt }: PageCookie, url: RequestUrl): void {
  const value = loadedAt === null ? id : `${id}.${loadedAt}`;
  const secure = url.protocol === "https:" ? "; Secure" : "";
  headers.append("set-cookie", `${PAGE_COOKIE}=${value}; Path=/; HttpOnly; SameSite=Lax${secure}`);
}
