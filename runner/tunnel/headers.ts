import type { IncomingMessage } from "node:http";
import type { AnswerHead, OpenHead, RawHeaders } from "../../functions/protocol/frames.ts";
import { localHost, localRequest, publicAnswer } from "./hosts.ts";
import type { ResolvedTarget } from "./services.ts";

/** Source: RFC 9110, 7.6.1, and what clients send in practice. They describe one connection, not the message. */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);
/** The edge has said "continue" long before a request gets here. */
const answeredByTheEdge = new Set(["expect"]);
/** Each of the two handshakes has its own. */
const handshake = new Set([
  "sec-websocket-key",
  "sec-websocket-version",
  "sec-websocket-extensions",
  "sec-websocket-accept",
]);

/** A request that can't be sent as it came. */
export class MalformedRequest extends Error {
  override name = "MalformedRequest";
}

/** How a request's body ends: told in advance, in chunks, or not there. */
export type BodyFraming = { kind: "sized"; bytes: number } | { kind: "chunked" } | { kind: "none" };

/**
 * The headers for a local HTTP server, with exactly one framing of the body, so that no two readers of the request can
 * disagree about where it ends. `wholeBodyBytes`: the body's size, if all of it is here already.
 */
export function requestHeaders(
  head: OpenHead,
  wholeBodyBytes: number | null,
  target: ResolvedTarget,
): { headers: RawHeaders; framing: BodyFraming } {
  const headers = forTarget(head.headers, target).filter(
    ([name]) => !answeredByTheEdge.has(name.toLowerCase()),
  );
  const lengths = new Set(valuesOf(head.headers, "content-length"));
  if (lengths.size > 1) throw new MalformedRequest("The request has two lengths.");
  const [length] = lengths;
  if (length !== undefined && !/^\d{1,15}$/.test(length))
    throw new MalformedRequest("The request's length isn't a number.");
  if (length !== undefined && wholeBodyBytes !== null && Number(length) !== wholeBodyBytes)
    throw new MalformedRequest("The request's body isn't as long as it says.");
  const bytes = length === undefined ? wholeBodyBytes : Number(length);
  if (bytes === null) {
    headers.push(["transfer-encoding", "chunked"]);
    return { headers, framing: { kind: "chunked" } };
  }
  const bodyless =
    bytes === 0 && length === undefined && /^(?:GET|HEAD|OPTIONS|DELETE|TRACE)$/.test(head.method);
  if (bodyless) return { headers, framing: { kind: "none" } };
  headers.push(["content-length", String(bytes)]);
  return { headers, framing: { kind: "sized", bytes } };
}

/** The headers for a local WebSocket server. */
export function upgradeHeaders(head: OpenHead, target: ResolvedTarget): RawHeaders {
  return forTarget(head.headers, target).filter(([name]) => !handshake.has(name.toLowerCase()));
}

/** The head of a local server's answer; null when it has something in it that the wire doesn't carry. */
export function answerHead(
  answer: IncomingMessage,
  request: OpenHead,
  { address }: ResolvedTarget,
): AnswerHead | null {
  const { statusCode = 0, statusMessage = "", rawHeaders } = answer;
  const pairs: RawHeaders = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    pairs.push([rawHeaders[at] ?? "", rawHeaders[at + 1] ?? ""]);
  }
  const kept = endToEnd(pairs).filter(([name]) => !handshake.has(name.toLowerCase()));
  const headers = "port" in address ? publicAnswer(kept, request.headers, address.port) : kept;
  // The hub would have to take any of these for a broken runner and end the connection.
  const sound =
    statusCode >= 100 &&
    statusCode <= 599 &&
    [statusMessage, ...headers.map(([, value]) => value)].every(
      (text) => !["\r", "\n", "\0"].some((character) => text.includes(character)),
    );
  return sound ? { status: statusCode, statusText: statusMessage, headers } : null;
}

/** Without what ends here, and with what the runner itself adds, which nobody else can. */
function forTarget(headers: RawHeaders, { address, headers: added }: ResolvedTarget): RawHeaders {
  const replaced = new Set(["content-length", ...added.map(([name]) => name.toLowerCase())]);
  const kept = endToEnd(headers)
    .filter(([name]) => !replaced.has(name.toLowerCase()))
    .map(([name, value]): RawHeaders[number] => [name, asBytes(value)]);
  for (const [name, value] of added) kept.push([name, value]);
  if (valuesOf(headers, "host").length === 0)
    kept.unshift(["host", "port" in address ? localHost(address.port) : "localhost"]);
  return "port" in address && address.host === "local" ? localRequest(kept, address.port) : kept;
}

/** An older Worker sends text in place of bytes; Node would refuse its characters. */
function asBytes(value: string): string {
  return /[^\0-\u00ff]/.test(value) ? Buffer.from(value).toString("latin1") : value;
}

function endToEnd(headers: RawHeaders): RawHeaders {
  const named = new Set(
    valuesOf(headers, "connection").flatMap((value) =>
      value
        .toLowerCase()
        .split(",")
        .map((part) => part.trim()),
    ),
  );
  return headers.filter(([name]) => !hopByHop.has(name.toLowerCase()) && !named.has(name.toLowerCase()));
}

function valuesOf(headers: RawHeaders, name: string): string[] {
  return headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value.trim());
}
