import type { Fields } from "../../functions/protocol/control.ts";
import type { Listener } from "../sentryvibe/teller.ts";
import { WebhookQueue, type Queued, type Refused } from "./webhook-queue.ts";

/** Where SentryVibe's web app takes its broker's events. */
const PATH = "/api/runner/events";
const ANSWER_LIMIT_MS = 15_000;
const FIRST_DELAY_MS = 500;
const DELAY_LIMIT_MS = 60_000;
/** After a day nobody waits for an event; those behind it do. */
const GIVE_UP_MS = 24 * 60 * 60_000;
/** Trying again can't help with these: the web app can't read the event. */
const FINAL = new Set([400, 409, 413, 415, 422]);

export interface WebhookOptions {
  directory: string;
  /** API_BASE_URL. */
  baseUrl: string;
  runnerId: string;
  secret: string;
  /** A SentryVibe broker passes its events on itself. */
  isBroker: () => boolean;
  firstDelayMs?: number;
  giveUpMs?: number;
  queueBytes?: number;
}

export interface WebhookStatus {
  pending: number;
  delivered: number;
  /** The latest ones that were given up. */
  notTaken: Refused[];
  lastError: string | null;
}

/** Delivers every event to the web app, at least once and in order; each has its number, so a second one is known. */
export class Webhook implements Listener {
  readonly #options: WebhookOptions;
  readonly #queue: WebhookQueue;
  readonly #ending = new AbortController();
  #running: Promise<void> | null = null;
  #delivered = 0;
  #lastError: string | null = null;

  private constructor(options: WebhookOptions, queue: WebhookQueue) {
    this.#options = options;
    this.#queue = queue;
  }

  static async open(options: WebhookOptions): Promise<Webhook> {
    const webhook = new Webhook(options, await WebhookQueue.open(options.directory, options.queueBytes));
    webhook.#run();
    return webhook;
  }

  status(): WebhookStatus {
    return {
      pending: this.#queue.size,
      delivered: this.#delivered,
      notTaken: this.#queue.notTaken.slice(-5),
      lastError: this.#lastError,
    };
  }

  begin(buildId: string, seq: number): void {
    if (this.#queue.has(buildId) === null && this.#queue.isNew) this.#queue.skip(buildId, seq);
  }

  has(buildId: string): number {
    return this.#queue.has(buildId) ?? 0;
  }

  tellBuild(buildId: string, seq: number, events: Fields[]): void {
    if (this.#options.isBroker()) this.#queue.skip(buildId, seq);
    else this.#queue.add(buildId, seq, events);
    this.#run();
  }

  tell(event: Fields): void {
    if (this.#options.isBroker()) return;
    this.#queue.add(null, 0, [event]);
    this.#run();
  }

  forget(buildId: string): void {
    this.#queue.forget(buildId);
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    await this.#queue.close();
  }

  #run(): void {
    this.#running ??= this.#deliver().finally(() => {
      this.#running = null;
      // One may have come as it ended.
      if (this.#queue.size > 0 && !this.#ending.signal.aborted) this.#run();
    });
  }

  async #deliver(): Promise<void> {
    const { firstDelayMs = FIRST_DELAY_MS, giveUpMs = GIVE_UP_MS } = this.#options;
    const { signal } = this.#ending;
    let delayMs = firstDelayMs;
    let since: number | null = null;
    let tried: Queued | null = null;
    while (!signal.aborted) {
      const entry = await this.#queue.first();
      if (entry === null) return;
      if (tried !== entry) since = null;
      tried = entry;
      const failure = await this.#send(entry);
      if (signal.aborted) return;
      if (failure === null) {
        this.#queue.taken();
        this.#delivered++;
        this.#lastError = null;
        delayMs = firstDelayMs;
        continue;
      }
      this.#lastError = failure.reason;
      since ??= performance.now();
      if (failure.isFinal || performance.now() - since >= giveUpMs) {
        this.#queue.refuse(failure.reason);
        continue;
      }
      // Full jitter on the upper half: a thousand runners must not come back as one.
      await pause(delayMs / 2 + (Math.random() * delayMs) / 2, signal);
      delayMs = Math.min(2 * delayMs, DELAY_LIMIT_MS);
    }
  }

  /** Null: it was taken. */
  async #send({ event, number }: Queued): Promise<{ reason: string; isFinal: boolean } | null> {
    const { baseUrl, secret, runnerId } = this.#options;
    try {
      const response = await fetch(`${baseUrl}${PATH}`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${secret}`,
          "content-type": "application/json",
          "x-signalbox-event": `${runnerId}/${number}`,
        },
        body: JSON.stringify({ runnerId, ...event }),
        redirect: "manual",
        signal: AbortSignal.any([this.#ending.signal, AbortSignal.timeout(ANSWER_LIMIT_MS)]),
      });
      await response.body?.cancel();
      if (response.ok) return null;
      return { reason: `it answered ${response.status}`, isFinal: FINAL.has(response.status) };
    } catch (error) {
      const cause =
        error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      return { reason: cause.slice(0, 200), isFinal: false };
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
