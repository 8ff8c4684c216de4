import { Problem } from "../errors.ts";
import { parseOpenHead, type ResetCode } from "../protocol/frames.ts";
import type { TunnelCall } from "./tunnel-call.ts";

/** What a client is told when its stream ends before there is an answer. The runner's own words stay inside. */
export function resetProblem(code: ResetCode): Problem {
  switch (code) {
    case "unreachable":
      return new Problem(
        "upstream_unreachable",
        "The runner couldn't reach the service. Check that it is running.",
      );
    case "draining":
      return new Problem("runner_draining", "The runner is draining and takes nothing new.", {
        headers: { "retry-after": "5" },
      });
    case "timeout":
      return new Problem("stream_timeout", "The service behind the runner didn't answer in time.");
    case "cancelled":
    case "protocol":
    case "overflow":
      return new Problem("stream_reset", "The runner broke the request off before it had an answer.");
  }
}

export function runnerOffline(runnerId: string): Problem {
  return new Problem("runner_offline", `Runner ${runnerId} is not connected. It connects again by itself.`, {
    headers: { "retry-after": "2" },
  });
}

export function connectionLost(): Problem {
  return new Problem("stream_reset", "The runner's connection ended before it had an answer.");
}

/** The request that a problem is told to: its headers are in the head. */
export function askedThrough({ method }: Request, { head }: TunnelCall): Request {
  const accept = parseOpenHead(head).headers.find(([name]) => name === "accept")?.[1];
  return new Request("https://hub/", { method, ...(accept === undefined ? {} : { headers: { accept } }) });
}
