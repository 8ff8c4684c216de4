import { sentryPauseMs, sentryRequest } from "../../functions/protocol/telemetry/sentry.ts";
import { version } from "../version.ts";

/** Reports a runner's failures to its operator. */
export interface Reporter {
  report(error: unknown, context?: ReportContext): void;
  /** Waits until what was reported has been sent, but not for long. */
  flush(): Promise<void>;
}

export interface ReportContext {
  level?: "fatal" | "error" | "warning";
  /** What didn't handle it, if nothing did: `uncaughtException` or `unhandledRejection`. */
  uncaught?: string;
  tags?: Record<string, string>;
}

export interface SentryOptions {
  dsn: URL;
  environment: string | null;
  release: string | null;
  runnerId: string;
  /** Struck out of everything that is sent. */
  secrets: readonly string[];
}

/** Without a DSN. */
export const noReporter: Reporter = { report: () => undefined, flush: () => Promise.resolve() };

const SEND_TIMEOUT_MS = 5_000;
const FLUSH_TIMEOUT_MS = 2_000;
/** A failure in a loop must not become a flood. */
const REPORTS_PER_MINUTE = 30;

/** Sends errors as Sentry envelopes. */
export class SentryReporter implements Reporter {
  readonly #options: SentryOptions;
  readonly #sending = new Set<Promise<void>>();
  #minute = 0;
  #reportsInMinute = 0;
  /** Sentry asked for no reports until then. */
  #pausedUntilMs = 0;

  constructor(options: SentryOptions) {
    this.#options = options;
  }

  report(failure: unknown, context: ReportContext = {}): void {
    if (this.#admit()) void this.#track(this.#send(failure, context));
  }

  async flush(): Promise<void> {
    const timeout = new Promise<void>((resolve) => {
      setTimeout(resolve, FLUSH_TIMEOUT_MS).unref();
    });
    await Promise.race([Promise.all(this.#sending), timeout]);
  }

  async #track(sending: Promise<void>): Promise<void> {
    this.#sending.add(sending);
    await sending;
    this.#sending.delete(sending);
  }

  #admit(): boolean {
    const now = Date.now();
    const minute = Math.floor(now / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#reportsInMinute = 0;
    }
    this.#reportsInMinute += 1;
    return this.#reportsInMinute <= REPORTS_PER_MINUTE && now >= this.#pausedUntilMs;
  }

  async #send(failure: unknown, { level = "error", uncaught, tags }: ReportContext): Promise<void> {
    const { dsn, environment, release, runnerId, secrets } = this.#options;
    const event = {
      platform: "node",
      level,
      uncaught,
      tags,
      serverName: runnerId,
      release: release ?? `signalbox-runner@${version}`,
      environment: environment ?? "production",
    } as const;
    const { url, init } = sentryRequest(dsn, `signalbox-runner/${version}`, failure, event, secrets);
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(SEND_TIMEOUT_MS) });
      await response.body?.cancel();
      const pauseMs = sentryPauseMs(response.status, response.headers.get("retry-after"));
      if (pauseMs > 0) this.#pausedUntilMs = Date.now() + pauseMs;
    } catch {
      // A report about a failed report would fail as well; the log has the failure itself.
    }
  }
}
