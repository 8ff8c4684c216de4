import { projectOfBuild } from "../../functions/protocol/builds.ts";
import type { Fields } from "../../functions/protocol/control.ts";
import type { EventLog } from "../builds/event-log.ts";
import type { NewEvent } from "../connection/connection.ts";
import type { LogFile } from "../logs/log-file.ts";
import type { PortEvent } from "../ports.ts";
import type { DevServerEvent } from "../projects/dev-server.ts";
import { BuildWords, type ToldProject, type Words } from "./build-words.ts";
import type { Origin, Origins } from "./origins.ts";
import { serverWords } from "./server-words.ts";

/** Gets every event, whoever is at the other end of the connection. */
export interface Listener {
  /** A build is here, with so many events. */
  begin(buildId: string, seq: number): void;
  /** Up to which event of a build it has all. */
  has(buildId: string): number;
  /** What one event of a build is in SentryVibe's words: nothing, or several. */
  tellBuild(buildId: string, seq: number, events: Fields[]): void;
  tell(event: Fields): void;
  forget(buildId: string): void;
}

export interface TellerOptions {
  origins: Origins;
  send: (event: NewEvent) => void;
  /** Whether the other end is a SentryVibe broker, which gets all; a hub has events of our own. */
  isBroker: () => boolean;
  listener: Listener | null;
  project: (slug: string) => (ToldProject & { isBusy: boolean }) | null;
  log: (slug: string) => Promise<LogFile>;
}

interface Entry {
  log: EventLog;
  words: BuildWords;
  origin: Origin | null;
  /** Put into words up to here. */
  seen: number;
  /** What was there when the runner started isn't sent again. */
  sentBefore: number;
}

/** One page of a log takes a message; a server that writes without end fills no more than this many of them a second. */
const FOLLOW_PAUSE_MS = 250;
const SERVER_PREFIX = "project:";

/** Tells what builds and dev servers do in SentryVibe's words. */
export class Teller {
  readonly origins: Origins;
  readonly #options: TellerOptions;
  readonly #entries = new Map<string, Entry>();
  /** The command that last started a project's dev server. */
  readonly #servers = new Map<string, { origin: Origin; following: AbortController }>();

  constructor(options: TellerOptions) {
    this.#options = options;
    this.origins = options.origins;
  }

  add(buildId: string, log: EventLog): void {
    const slug = projectOfBuild(buildId) ?? "";
    const origin = this.origins.ofBuild(buildId);
    const words = new BuildWords({
      commandId: origin?.commandId ?? buildId,
      project: () => this.#options.project(slug),
      previewUrl: origin?.previewUrl ?? null,
    });
    this.#entries.set(buildId, { log, words, origin, seen: 0, sentBefore: log.seq });
    if (this.#options.listener === null) return;
    this.#options.listener.begin(buildId, log.seq);
    this.pump(buildId);
  }

  remove(buildId: string): void {
    this.#entries.delete(buildId);
    this.origins.forgetBuild(buildId);
    this.#options.listener?.forget(buildId);
  }

  /** There may be more to tell. */
  pump(buildId: string): void {
    const entry = this.#entries.get(buildId);
    if (entry === undefined) return;
    const { listener } = this.#options;
    for (const event of entry.log.after(entry.seen, Infinity)) {
      entry.seen = event.seq;
      const about = { timestamp: event.at, ...this.#about(projectOfBuild(buildId) ?? "", entry.origin) };
      const events = entry.words.of(event).map((words) => ({ ...words, ...about }));
      if (event.seq > entry.sentBefore) for (const one of events) this.#send(one, entry.origin);
      if (listener !== null && event.seq > listener.has(buildId)) {
        listener.tellBuild(buildId, event.seq, events);
      }
    }
  }

  /** A command has started a dev server: from now on its events are the command's, and its output is told. */
  async serverStarted(slug: string, origin: Origin): Promise<void> {
    this.serverEnded(slug);
    const following = new AbortController();
    this.#servers.set(slug, { origin, following });
    const log = await this.#options.log(slug);
    void this.#follow(slug, log, log.cursor, origin, following.signal);
  }

  serverEnded(slug: string): void {
    this.#servers.get(slug)?.following.abort();
    this.#servers.delete(slug);
  }

  server(slug: string, event: DevServerEvent): void {
    // Its build says so itself.
    if (event.type === "ready" && this.#options.project(slug)?.isBusy === true) return;
    const previewUrl = this.#servers.get(slug)?.origin.previewUrl ?? null;
    this.#tell(slug, serverWords(event, previewUrl));
  }

  port({ owner, ...words }: PortEvent): void {
    if (owner.startsWith(SERVER_PREFIX)) this.#tell(owner.slice(SERVER_PREFIX.length), words);
  }

  close(): void {
    for (const { following } of this.#servers.values()) following.abort();
    this.#servers.clear();
  }

  #tell(slug: string, words: Words): void {
    const origin = this.#servers.get(slug)?.origin ?? null;
    const event = { timestamp: new Date().toISOString(), ...words, ...this.#about(slug, origin) };
    this.#send(event, origin);
    this.#options.listener?.tell(event);
  }

  #send(event: NewEvent, origin: Origin | null): void {
    if (origin !== null || this.#options.isBroker()) this.#options.send(event);
  }

  #about(slug: string, origin: Origin | null): { projectId: string; commandId?: string; sessionId?: string } {
    const projectId = origin?.projectId ?? this.origins.projectIdOf(slug) ?? slug;
    if (origin === null) return { projectId };
    const { commandId, sessionId } = origin;
    return { projectId, commandId, ...(sessionId === null ? {} : { sessionId }) };
  }

  async #follow(
    slug: string,
    log: LogFile,
    from: number,
    origin: Origin,
    signal: AbortSignal,
  ): Promise<void> {
    let cursor = from;
    while (!signal.aborted) {
      await log.growth(cursor, signal);
      const page = await log.read(cursor);
      if (page.cursor === cursor) return; // it was closed
      cursor = page.cursor;
      for (const stream of ["stdout", "stderr"] as const) {
        const lines = page.lines.filter((line) => line.step === "start" && line.stream === stream);
        if (lines.length === 0) continue;
        const data = lines.map(({ text }) => `${text}\n`).join("");
        const about = this.#about(slug, origin);
        this.#send(
          {
            type: "log-chunk",
            timestamp: lines[0]?.at ?? "",
            stream,
            data,
            cursor: String(cursor),
            ...about,
          },
          origin,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, FOLLOW_PAUSE_MS));
    }
  }
}
