import type { AppDocument } from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import { Holds } from "./holds.ts";
import type { RouteTable } from "./hosts.ts";

const HOLD_POLL_MS = 200;
const holds = new Holds(10 * HOLD_POLL_MS);

type Pause = NonNullable<AppDocument["paused"]>;

/** Refuses, or holds the request until the app resumes. Returns the app as it resumed, null if it's gone. */
export async function whilePaused(
  name: string,
  pause: Pause,
  read: () => Promise<RouteTable>,
): Promise<AppDocument | null> {
  refuseIfAsked(pause);
  const hold = holds.take(name, Date.now());
  if (hold === null) throw holdTimeout(pause);
  try {
    const deadline = Date.now() + pause.maxHoldSeconds * 1_000;
    for (;;) {
      await scheduler.wait(HOLD_POLL_MS);
      hold.seenAt = Date.now();
      const { app } = await read();
      if (!app?.paused) return app;
      refuseIfAsked(app.paused);
      if (hold.evicted || hold.seenAt >= deadline) throw holdTimeout(pause);
    }
  } finally {
    holds.release(name, hold);
  }
}

function refuseIfAsked(pause: Pause): void {
  if (pause.mode !== "refuse") return;
  throw new Problem("app_paused", pause.message, {
    headers: { "retry-after": String(pause.retryAfterSeconds) },
  });
}

function holdTimeout({ message, retryAfterSeconds }: Pause): Problem {
  return new Problem("hold_timeout", message, { headers: { "retry-after": String(retryAfterSeconds) } });
}
