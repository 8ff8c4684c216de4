import { Problem } from "../errors.ts";
import type { OpenHead, RawHeaders } from "../protocol/frames.ts";
import { RUNNER_SERVICE, SHA256_HEADER } from "../protocol/runner-api.ts";
import { headerBytes } from "./header-bytes.ts";

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

/** HTTP/1.1 demands a Host; Signalbox's own calls have no other. */
const OWN_HOST = "signalbox.internal";

/** The head of an open frame as ASCII JSON: a header can carry it, and its length is its size in bytes. */
export function openHead(
  given: Headers,
  method: string,
  { service, path }: TunnelTarget,
): { text: string; webSocket: boolean; address: string | null } {
  let host = OWN_HOST;
  let address: string | null = null;
  let webSocket = false;
  const headers: RawHeaders = [["host", host]];
  for (const [name, value] of given) {
    if (name === "upgrade") webSocket = value.toLowerCase() === "websocket";
    if (name === "x-forwarded-host") host = value;
    // The edge's word: a client's own is dropped there.
    if (name === "x-forwarded-for" && !value.includes(" ")) address = value;
    const isInternal =
      name.startsWith("x-signalbox-") && !(service === RUNNER_SERVICE && name === SHA256_HEADER);
    if (!OWN_TO_A_HOP.has(name) && !isInternal) headers.push([name, value]);
  }
  headers[0] = ["host", host];
  const head: OpenHead = { service, method, path: asciiPath(path), headers, webSocket };
  const text = JSON.stringify(head);
  return { text: NON_ASCII.test(text) ? escaped(head) : text, webSocket, address };
}

const NON_ASCII = /[^\0-\u007f]/;

/** With the bytes of values, and with anything else as it is. */
function escaped(head: OpenHead): string {
  const headers: RawHeaders = head.headers.map(([name, value]) => [name, headerBytes(value)]);
  return JSON.stringify({ ...head, headers }).replace(
    /[^\0-\u007f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** What clients leave unencoded is encoded as the URL standard does it: the wire, and HTTP behind it, is ASCII. */
function asciiPath(path: string): string {
  try {
    return path.replace(/[^\u0021-\u007e]/gu, encodeURIComponent);
  } catch {
    throw new Problem("invalid_request", "The path isn't well-formed Unicode.");
  }
}
