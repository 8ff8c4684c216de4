import { setTimeout as sleep } from "node:timers/promises";
import type { EventSourceMessage } from "eventsource-parser";
import { z } from "zod";
import { printableLine } from "../../../functions/protocol/printable.ts";
import { ControlProblem, ControlUnreachable, type ControlClient } from "../../client/control-client.ts";
import { Failure } from "../failure.ts";
import { readEvents } from "./event-stream.ts";

const RETRY_FIRST_MS = 250;
const RETRY_LIMIT_MS = 5_000;
/** A server that is being deployed is back in seconds; beyond this it is down. */
const GIVE_UP_AFTER_MS = 5 * 60_000;

const at = z.string();
const step = z.object({
  at,
  step: z.string(),
  status: z.enum(["started", "waiting", "done", "failed"]),
  detail: z.string().default(""),
});
const log = z.object({ at, line: z.string() });
const state = z.object({ at, state: z.string(), reason: z.string().nullable().default(null) });

export type ProgressEvent =
  | ({ type: "step" } & z.infer<typeof step>)
  | ({ type: "log" } & z.infer<typeof log>)
  | ({ type: "state" } & z.infer<typeof state>);

export interface Following {
  signal: AbortSignal;
  /** Begins after this event; null: with the first. */
  after?: string | null;
  /** Called when the connection is lost and isn't back at once. */
  lost?: (why: string) => void;
}

/**
 * A deployment's progress until nothing more will happen by itself. A dropped connection is made again and goes on
 * where it was. Throws {@link Failure} `unreachable` when the server stays away.
 */
export async function* followDeployment(
  control: ControlClient,
  app: string,
  id: string,
  following: Following,
): AsyncGenerator<ProgressEvent> {
  const open = (last: string | null): Promise<ReadableStream<Uint8Array> | null> =>
    control.events(app, id, last, following.signal);
  for await (const { event, data } of followStream(open, following)) {
    const progress = parse(event, data);
    if (progress !== null) yield progress;
  }
}

/** The events of a stream that resumes by Last-Event-ID, until it says `end`. */
export async function* followStream(
  open: (lastId: string | null) => Promise<ReadableStream<Uint8Array> | null>,
  following: Following,
): AsyncGenerator<EventSourceMessage> {
  let last = following.after ?? null;
  let failures = 0;
  let heardAt = Date.now();
  for (;;) {
    try {
      const stream = await open(last);
      if (stream === null) return;
      for await (const event of readEvents(stream)) {
        failures = 0;
        heardAt = Date.now();
        if (event.event === "end") return;
        if (event.id !== undefined) last = event.id;
        yield event;
      }
      throw new ControlUnreachable("The stream ended before its time.");
    } catch (error) {
      if (following.signal.aborted || !passes(error)) throw error;
      const why = printableLine(error instanceof Error ? error.message : "unknown error");
      if (Date.now() - heardAt > GIVE_UP_AFTER_MS) throw error;
      // The first is often a mere hiccup, and a stream that reached its size is simply continued.
      if (failures === 1) following.lost?.(why);
      await sleep(Math.min(RETRY_LIMIT_MS, RETRY_FIRST_MS * 2 ** failures), undefined, {
        signal: following.signal,
      });
      failures += 1;
    }
  }
}

function passes(error: unknown): boolean {
  if (error instanceof ControlProblem) return error.status >= 500;
  return !(error instanceof Failure) && !(error instanceof SyntaxError);
}

/** Null for what a newer server says in words that this one doesn't know. */
function parse(event: string | undefined, data: string): ProgressEvent | null {
  const json: unknown = JSON.parse(data);
  switch (event) {
    case "step": {
      const parsed = step.safeParse(json);
      return parsed.success ? { type: "step", ...parsed.data } : null;
    }
    case "log": {
      const parsed = log.safeParse(json);
      return parsed.success ? { type: "log", ...parsed.data } : null;
    }
    case "state": {
      const parsed = state.safeParse(json);
      return parsed.success ? { type: "state", ...parsed.data } : null;
    }
    default:
      return null;
  }
}
