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
    // Of a runner from before it had shares: too many streams in all.
    case "overflow":
      return new Problem("runner_overloaded", "The runner has too much open. Try again shortly.", {
        headers: { "retry-after": "2" },
      });
    case "cancelled":
    case "protocol":
      return new Problem("stream_reset", "The runner broke the request off before it had an answer.");
  }
}

/** For a stream that was idle and made room. */
export function placeGiven(app: string): Problem {
  const detail = `Nothing moved on this request, and others wait for its place in the share of app ${app}. Try again.`;
  return new Problem("app_share_used_up", detail, { headers: { "retry-after": "2" } });
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
