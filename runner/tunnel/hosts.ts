import type { RawHeaders } from "../../functions/protocol/frames.ts";
import { publicLocation, publicRefresh } from "../../functions/protocol/redirects.ts";

/**
 * Which host a service is told that it is opened at. `public`: the one that people see. `local`: localhost and its own
 * port, which is what development servers insist on.
 */
export type HostChoice = "public" | "local";

/** Say where the request came in; a browser on this machine wouldn't send them. */
const publicPlace = new Set(["x-forwarded-host", "x-forwarded-proto"]);
/** Begin with an origin. */
const originHeaders = new Set(["origin", "referer"]);

/**
 * A request's headers as a browser on this machine would send them. All names change together because frameworks
 * compare them: Vite looks at Host, Next at Origin, its Server Actions at Origin and X-Forwarded-Host, Astro at Origin
 * and Host. Another site's Origin stays, so that it is refused as it would be without a tunnel.
 */
export function localRequest(headers: RawHeaders, port: number): RawHeaders {
  const host = publicHost(headers);
  return headers
    .filter(([name]) => !publicPlace.has(name.toLowerCase()))
    .map(([name, value]) => {
      const key = name.toLowerCase();
      if (key === "host") return [name, localHost(port)];
      const url = originHeaders.has(key) ? URL.parse(value) : null;
      return url !== null && url.host === host ? [name, atOrigin(value, localOrigin(port))] : [name, value];
    });
}

/** The answer's headers, in which a redirect to the service itself leads to where people see it. */
export function publicAnswer(answer: RawHeaders, request: RawHeaders, port: number): RawHeaders {
  const host = publicHost(request);
  if (host === null) return answer;
  const origin = `${valueOf(request, "x-forwarded-proto") ?? "http"}://${host}`;
  const own = ["localhost", "127.0.0.1", "[::1]"].map((name) => `${name}:${port}`);
  const isOwn = (place: string): boolean => own.includes(place);
  return answer.map(([name, value]) => {
    const key = name.toLowerCase();
    if (key === "location") return [name, publicLocation(value, isOwn, origin)];
    return key === "refresh" ? [name, publicRefresh(value, isOwn, origin)] : [name, value];
  });
}

export function localHost(port: number): string {
  return `localhost:${port}`;
}

function localOrigin(port: number): string {
  return `http://${localHost(port)}`;
}

/** The rest of the URL stays as it is spelled. */
function atOrigin(url: string, origin: string): string {
  return origin + url.trim().replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "");
}

function publicHost(headers: RawHeaders): string | null {
  return valueOf(headers, "host")?.toLowerCase() ?? null;
}

function valueOf(headers: RawHeaders, name: string): string | undefined {
  return headers.find(([key]) => key.toLowerCase() === name)?.[1].trim();
}
