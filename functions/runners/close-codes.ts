import type { ResetCode } from "../protocol/frames.ts";
import { REASON_LIMIT_BYTES } from "../protocol/limits.ts";

/** Codes that no close frame may carry. Source: RFC 6455, section 7.4.1. */
export const NO_CODE = 1_005;
export const ABNORMAL = 1_006;
/** The other side may come back at once. Source: the registry of close codes. */
export const RESTARTED = 1_012;

/** How a public WebSocket ends when its stream was reset. */
export function closeCodeOf(code: ResetCode): number {
  switch (code) {
    case "overflow":
      return 1_013;
    case "draining":
      return RESTARTED;
    case "cancelled":
    case "unreachable":
    case "protocol":
    case "timeout":
      return 1_011;
  }
}

/** Closes with the other side's code and reason, if a close frame may carry them. */
export function closeSocket(socket: WebSocket, code: number, reason: string): void {
  try {
    if (code === NO_CODE) socket.close();
    else socket.close(code, cut(reason));
  } catch {
    try {
      socket.close(1_011);
    } catch {
      return; // it is closed already
    }
  }
}

function cut(reason: string): string {
  const encoder = new TextEncoder();
  let text = reason;
  while (encoder.encode(text).byteLength > REASON_LIMIT_BYTES) text = text.slice(0, -1);
  return text;
}
