/** Errors as Sentry takes them: https://develop.sentry.dev/sdk/data-model/envelopes */

export interface SentryEvent {
  platform: "node" | "javascript";
  level: "fatal" | "error" | "warning";
  /** What didn't handle it, if nothing did. */
  uncaught?: string | undefined;
  environment: string;
  release: string;
  serverName?: string;
  tags?: Record<string, string> | undefined;
}

const STACK_LINES = 50;

/** `https://KEY@HOST/PREFIX/PROJECT`; null for anything else. */
export function parseSentryDsn(value: string): URL | null {
  const url = URL.parse(value);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username === "") return null;
  return url.hash === "" && /\/\d+$/.test(url.pathname) ? url : null;
}

/** One POST to Sentry. `secrets` are struck out of everything that is sent. */
export function sentryRequest(
  dsn: URL,
  client: string,
  failure: unknown,
  event: SentryEvent,
  secrets: readonly string[],
): { url: string; init: { method: "POST"; headers: Record<string, string>; body: string } } {
  const [, path = "", project = ""] = /^(.*)\/(\d+)$/.exec(dsn.pathname) ?? [];
  return {
    url: `${dsn.protocol}//${dsn.host}${path}/api/${project}/envelope/`,
    init: {
      method: "POST",
      headers: {
        "content-type": "application/x-sentry-envelope",
        "x-sentry-auth": `Sentry sentry_version=7, sentry_client=${client}, sentry_key=${dsn.username}`,
      },
      body: withoutSecrets(envelope(failure, event), secrets),
    },
  };
}

/** Milliseconds that Sentry asks for no more; 0: it doesn't. */
export function sentryPauseMs(status: number, retryAfter: string | null): number {
  if (status !== 429) return 0;
  const seconds = Number(retryAfter ?? "60");
  return (Number.isFinite(seconds) ? seconds : 60) * 1_000;
}

function envelope(failure: unknown, event: SentryEvent): string {
  const { platform, level, uncaught, environment, release, serverName, tags } = event;
  const error = failure instanceof Error ? failure : new Error(String(failure));
  const eventId = crypto.randomUUID().replaceAll("-", "");
  const mechanism = { type: uncaught ?? "generic", handled: uncaught === undefined };
  const stacktrace = { frames: frames(error) };
  const lines = [
    { event_id: eventId, sent_at: new Date().toISOString() },
    { type: "event" },
    {
      event_id: eventId,
      timestamp: Date.now() / 1_000,
      platform,
      level,
      server_name: serverName,
      release,
      environment,
      tags,
      exception: { values: [{ type: error.name, value: error.message, mechanism, stacktrace }] },
    },
  ];
  return lines.map((line) => JSON.stringify(line)).join("\n");
}

/** In JSON a secret with quotes or backslashes is spelled in another way. */
function withoutSecrets(text: string, secrets: readonly string[]): string {
  const spellings = secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  return spellings.reduce(
    (rest, secret) => (secret === "" ? rest : rest.replaceAll(secret, "[secret]")),
    text,
  );
}

/** Oldest call first, as Sentry wants them. */
function frames(error: Error): { function: string; filename: string; lineno: number; colno: number }[] {
  const lines = (error.stack ?? "").split("\n").slice(0, STACK_LINES);
  return lines
    .flatMap((line) => {
      const found = /^\s+at (?:(.*?) \()?(.+?):(\d+):(\d+)\)?$/.exec(line);
      if (found === null) return [];
      const [, name = "<anonymous>", filename = "", lineno, colno] = found;
      return [{ function: name, filename, lineno: Number(lineno), colno: Number(colno) }];
    })
    .toReversed();
}
