import type { OpenHead } from "../protocol/frames.ts";

/** What goes through to a runner's service. The wire's head is made at the edge, once; the hub copies it. */
export interface TunnelCall {
  runnerId: string;
  service: string;
  webSocket: boolean;
  /** The address that asks; null for Signalbox itself. */
  address: string | null;
  /** Head of the open frame: ASCII JSON. */
  head: string;
}

/** Requests and WebSockets open to a service. */
export interface OpenStreams {
  all: number;
  /** Requests by a script of a page that the edge's helper runs in: whoever counts that page needn't count these. */
  ofPages: number;
}

/** A page's helper pins what its scripts ask for, and the browser says that a script asked. */
export function isOfPage({ head }: TunnelCall): boolean {
  const { path, headers } = JSON.parse(head) as Pick<OpenHead, "path" | "headers">;
  const said = new Map(headers);
  const isPinned = said.has("x-pulse-deployment") || /[?&]pulse_deployment=/.test(path);
  return isPinned && said.get("sec-fetch-site") === "same-origin" && said.get("sec-fetch-dest") === "empty";
}

/** No client can send it: the edge drops every header with this prefix. */
export const TUNNEL_CALL_HEADER = "x-signalbox-tunnel";

/** Words, of which none but the last has spaces. */
export function encodeTunnelCall({ runnerId, service, webSocket, address, head }: TunnelCall): string {
  return `${runnerId} ${encodeURIComponent(service)} ${webSocket ? "w" : "h"}${address ?? ""} ${head}`;
}

export function parseTunnelCall(text: string): TunnelCall {
  const serviceAt = text.indexOf(" ") + 1;
  const kindAt = text.indexOf(" ", serviceAt) + 1;
  const headAt = text.indexOf(" ", kindAt) + 1;
  return {
    runnerId: text.slice(0, serviceAt - 1),
    service: decodeURIComponent(text.slice(serviceAt, kindAt - 1)),
    webSocket: text[kindAt] === "w",
    address: headAt - kindAt > 2 ? text.slice(kindAt + 1, headAt - 1) : null,
    head: text.slice(headAt),
  };
}
