import { randomBytes } from "node:crypto";
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

/** Sends errors as Sentry envelopes. Source: develop.sentry.dev/sdk/data-model/envelopes. */
export class SentryReporter implements Reporter {
  readonly #options: SentryOptions;
  readonly #endpoint: string;
  readonly #key: string;
  readonly #sending = new Set<Promise<void>>();
  #minute = 0;
  #reportsInMinute = 0;
  /** Sentry asked for no reports until then. */
  #pausedUntilMs = 0;

  constructor(options: SentryOptions) {
    const { dsn } = options;
    const [, path = "", project = ""] = /^(.*)\/(\d+)$/.exec(dsn.pathname) ?? [];
    this.#options = options;
    this.#endpoint = `${dsn.protocol}//${dsn.host}${path}/api/${project}/envelope/`;
    this.#key = dsn.username;
  }

  report(failure: unknown, context: ReportContext = {}): void {
    if (this.#admit()) void this.#track(this.#send(this.#envelope(failure, context)));
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

  #envelope(error: unknown, { level = "error", uncaught, tags }: ReportContext): string {
    const { environment, release, runnerId, secrets } = this.#options;
    const eventId = randomBytes(16).toString("hex");
    const failure = error instanceof Error ? error : new Error(String(error));
    const mechanism = { type: uncaught ?? "generic", handled: uncaught === undefined };
    const event = {
      event_id: eventId,
      timestamp: Date.now() / 1_000,
      platform: "node",
      level,
      server_name: runnerId,
      release: release ?? `signalbox-runner@${version}`,
      environment: environment ?? "production",
      tags,
      exception: {
        values: [
          { type: failure.name, value: failure.message, mechanism, stacktrace: { frames: frames(failure) } },
        ],
      },
    };
    const lines = [{ event_id: eventId, sent_at: new Date().toISOString() }, { type: "event" }, event];
    const text = lines.map((line) => JSON.stringify(line)).join("\n");
    // In JSON a secret with quotes or backslashes is spelled in another way.
    const spellings = secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
    return spellings.reduce(
      (rest, secret) => (secret === "" ? rest : rest.replaceAll(secret, "[secret]")),
      text,
    );
  }

  async #send(envelope: string): Promise<void> {
    try {
      const response = await fetch(this.#endpoint, {
        method: "POST",
        headers: {
          "content-type": "application/x-sentry-envelope",
          "x-sentry-auth": `Sentry sentry_version=7, sentry_client=signalbox-runner/${version}, sentry_key=${this.#key}`,
        },
        body: envelope,
        signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
      });
      await response.body?.cancel();
      if (response.status === 429) {
        const seconds = Number(response.headers.get("retry-after") ?? "60");
        this.#pausedUntilMs = Date.now() + (Number.isFinite(seconds) ? seconds : 60) * 1_000;
      }
    } catch {
      // A report about a failed report would fail as well; the log has the failure itself.
    }
  }
}

/** Oldest call first, as Sentry wants them. */
function frames(error: Error): { function: string; filename: string; lineno: number; colno: number }[] {
  const lines = (error.stack ?? "").split("\n").slice(0, 50);
  return lines
    .flatMap((line) => {
      const found = /^\s+at (?:(.*?) \()?(.+?):(\d+):(\d+)\)?$/.exec(line);
      if (found === null) return [];
      const [, name = "<anonymous>", filename = "", lineno, colno] = found;
      return [{ function: name, filename, lineno: Number(lineno), colno: Number(colno) }];
    })
    .toReversed();
}
