import { Problem } from "../errors.ts";
import type { OpenHead, RawHeaders } from "../protocol/frames.ts";
import { RUNNER_SERVICE, SHA256_HEADER } from "../protocol/runner-api.ts";

/** Which of a runner's services a request is for, and its path and query as the client spelled them. */
export interface TunnelTarget {
  service: string;
  path: string;
}

/** Belongs to one hop's framing or handshake; the runner makes its own towards the service. */
const OWN_TO_A_HOP = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
  "host",
  "sec-websocket-key",
  "sec-websocket-version",
  "sec-websocket-extensions",
]);

/** HTTP/1.1 asks for one even where nobody was asked for by name: Signalbox's own calls. */
const OWN_HOST = "signalbox.internal";

/** A request as the wire holds it. */
export function openHead(request: Request, { service, path }: TunnelTarget): OpenHead {
  const headers: RawHeaders = [["host", request.headers.get("x-forwarded-host") ?? OWN_HOST]];
  for (const [name, value] of request.headers) {
    const isInternal =
      name.startsWith("x-signalbox-") && !(service === RUNNER_SERVICE && name === SHA256_HEADER);
    if (!OWN_TO_A_HOP.has(name) && !isInternal) headers.push([name, value]);
  }
  const webSocket = request.headers.get("upgrade")?.toLowerCase() === "websocket";
  return { service, method: request.method, path: asciiPath(path), headers, webSocket };
}

/** What clients leave unencoded is encoded as the URL standard does it: the wire, and HTTP behind it, is ASCII. */
function asciiPath(path: string): string {
  try {
    return path.replace(/[^\u0021-\u007e]/gu, encodeURIComponent);
  } catch {
    throw new Problem("invalid_request", "The path isn't well-formed Unicode.");
  }
}
