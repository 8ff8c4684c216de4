import { ProtocolError, type AnswerHead, type RawHeaders } from "../protocol/frames.ts";
import { headerText } from "./header-bytes.ts";

/** A runner's head as the platform takes it: duplicates apart, compressed bytes left as they are. */
export function answerInit(head: AnswerHead): ResponseInit {
  if (head.status < 200) throw new ProtocolError("An answer's status is below 200.");
  const headers = new Headers();
  for (const [name, value] of head.headers) headers.append(name, headerText(value));
  return {
    status: head.status,
    // HTTP allows a tab there; the platform doesn't.
    statusText: headerText(head.statusText).replaceAll("\t", " "),
    headers,
    ...(headers.has("content-encoding") ? { encodeBody: "manual" } : {}),
  };
}

/** Whether HTTP says that this answer has no body, whatever its headers say. */
export function hasNoBody(method: string, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 205 || status === 304;
}

/** What `content-length` promises; null where it doesn't, or says two things. */
export function bodyLength(headers: RawHeaders): number | null {
  const lengths = headers.filter(([name]) => name.toLowerCase() === "content-length");
  const [first] = lengths;
  if (!first || lengths.length > 1 || !/^\d{1,15}$/.test(first[1])) return null;
  return Number(first[1]);
}
