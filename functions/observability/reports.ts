import { sentryPauseMs, sentryRequest } from "../protocol/telemetry/sentry.ts";

/** Where errors are reported. */
export interface ReportSettings {
  dsn: URL;
  environment: string;
  release: string;
  /** Struck out of everything that is sent. */
  secrets: readonly string[];
}

const CLIENT = "signalbox-edge/1";
const SEND_TIMEOUT_MS = 5_000;
/** Of one isolate: a failure in a loop must not become a flood. */
const REPORTS_PER_MINUTE = 30;

let minute = 0;
let inMinute = 0;
let pausedUntil = 0;

/** Reports an error that nobody expected. Nothing of the request is in it but where it was. Never rejects. */
export async function reportError(
  settings: ReportSettings | null,
  failure: unknown,
  where: string,
): Promise<void> {
  if (settings === null || !admit()) return;
  const { dsn, environment, release, secrets } = settings;
  const event = { platform: "javascript", level: "error", environment, release, tags: { where } } as const;
  const { url, init } = sentryRequest(dsn, CLIENT, failure, event, secrets);
  try {
    const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(SEND_TIMEOUT_MS) });
    await answer.body?.cancel();
    const pauseMs = sentryPauseMs(answer.status, answer.headers.get("retry-after"));
    if (pauseMs > 0) pausedUntil = Date.now() + pauseMs;
  } catch {
    return; // a report about it would fail as well; the log has the error itself
  }
}

function admit(): boolean {
  const now = Date.now();
  if (Math.floor(now / 60_000) !== minute) {
    minute = Math.floor(now / 60_000);
    inMinute = 0;
  }
  inMinute += 1;
  return inMinute <= REPORTS_PER_MINUTE && now >= pausedUntil;
}
