import { appendFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { complain } from "../terminal/complain.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";

/** A day of builds without the web app. */
const PENDING_LIMIT_BYTES = 16 * 1024 * 1024;
/** What is delivered stays in the file until so much of it is. */
const WASTE_LIMIT_BYTES = 1024 * 1024;
const NOT_TAKEN_KEPT = 200;

const queued = z.object({
  /** Rises by one. */
  number: z.int(),
  build: z.string().nullable(),
  seq: z.int(),
  event: z.record(z.string(), z.unknown()),
});
export type Queued = z.infer<typeof queued>;

const refused = z.object({ at: z.string(), number: z.int(), type: z.string(), reason: z.string() });
export type Refused = z.infer<typeof refused>;

const stored = z.object({
  delivered: z.int(),
  /** Up to which event each build is in the queue, or was. */
  builds: z.record(z.string(), z.int()),
  notTaken: z.array(refused),
});

/** Events that wait to be delivered, in order, on disk before anybody sends them. Bounded: the oldest go first. */
export class WebhookQueue {
  /** Whether there was one before: then builds that it doesn't know are new. */
  readonly isNew: boolean;
  readonly #directory: string;
  readonly #builds: Map<string, number>;
  readonly #notTaken: Refused[];
  readonly #limitBytes: number;
  #pending: { entry: Queued; bytes: number }[];
  #pendingBytes: number;
  #fileBytes: number;
  #delivered: number;
  #last: number;
  #work: Promise<void> = Promise.resolve();
  #isSettling = false;
  #unwritten = "";

  private constructor(
    directory: string,
    { isNew, limitBytes }: { isNew: boolean; limitBytes: number },
    state: z.infer<typeof stored>,
    entries: Queued[],
    fileBytes: number,
  ) {
    this.#directory = directory;
    this.isNew = isNew;
    this.#limitBytes = limitBytes;
    this.#delivered = state.delivered;
    this.#builds = new Map(Object.entries(state.builds));
    this.#notTaken = state.notTaken;
    for (const { build, seq } of entries) {
      if (build !== null) this.#builds.set(build, Math.max(seq, this.#builds.get(build) ?? 0));
    }
    this.#last = Math.max(state.delivered, ...entries.slice(-1).map(({ number }) => number));
    this.#pending = entries
      .filter(({ number }) => number > state.delivered)
      .map((entry) => ({ entry, bytes: Buffer.byteLength(JSON.stringify(entry)) + 1 }));
    this.#pendingBytes = this.#pending.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#fileBytes = fileBytes;
  }

  static async open(directory: string, limitBytes: number = PENDING_LIMIT_BYTES): Promise<WebhookQueue> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const text = await readFile(join(directory, "state.json"), "utf8").catch(() => null); // there is none
    const known = text === null ? null : (stored.safeParse(parse(text)).data ?? null);
    const lines = await readFile(join(directory, "queue.jsonl"), "utf8").catch(() => ""); // there is none
    // A last line that a kill cut off is no JSON.
    const entries = lines.split("\n").flatMap((line) => queued.safeParse(parse(line)).data ?? []);
    const state = known ?? { delivered: 0, builds: {}, notTaken: [] };
    const queue = new WebhookQueue(
      directory,
      { isNew: known === null && entries.length === 0, limitBytes },
      state,
      entries,
      Buffer.byteLength(lines),
    );
    await queue.#rewrite();
    return queue;
  }

  get size(): number {
    return this.#pending.length;
  }

  get notTaken(): readonly Refused[] {
    return this.#notTaken;
  }

  /** Up to which of a build's events all are in the queue, or were; null: none. */
  has(build: string): number | null {
    return this.#builds.get(build) ?? null;
  }

  /** These needn't be delivered. */
  skip(build: string, seq: number): void {
    this.#builds.set(build, seq);
  }

  add(build: string | null, seq: number, events: readonly Queued["event"][]): void {
    if (build !== null) this.#builds.set(build, seq);
    if (events.length === 0) return;
    const added = events.map((event) => {
      const entry: Queued = { number: ++this.#last, build, seq, event };
      return { entry, line: `${JSON.stringify(entry)}\n` };
    });
    for (const { entry, line } of added) {
      const bytes = Buffer.byteLength(line);
      this.#pending.push({ entry, bytes });
      this.#pendingBytes += bytes;
    }
    while (this.#pendingBytes > this.#limitBytes && this.#pending.length > 1)
      this.refuse("the queue is full");
    this.#unwritten += added.map(({ line }) => line).join("");
    this.#then(() => this.#append());
  }

  /** The oldest, once it is on disk. */
  async first(): Promise<Queued | null> {
    await this.#work;
    return this.#pending[0]?.entry ?? null;
  }

  /** The oldest was taken. */
  taken(): void {
    const done = this.#pending.shift();
    if (done === undefined) return;
    this.#pendingBytes -= done.bytes;
    this.#delivered = done.entry.number;
    this.#settle();
  }

  /** The oldest won't be taken; it is listed. */
  refuse(reason: string): void {
    const entry = this.#pending[0]?.entry;
    if (entry === undefined) return;
    const { number, event } = entry;
    this.#notTaken.push({ at: new Date().toISOString(), number, type: String(event["type"]), reason });
    this.#notTaken.splice(0, this.#notTaken.length - NOT_TAKEN_KEPT);
    this.taken();
  }

  forget(build: string): void {
    this.#builds.delete(build);
  }

  async close(): Promise<void> {
    this.#isSettling = false;
    this.#settle();
    await this.#work;
  }

  async #append(): Promise<void> {
    const text = this.#unwritten;
    if (text === "") return;
    this.#unwritten = "";
    await appendFile(join(this.#directory, "queue.jsonl"), text, { mode: 0o600 });
    this.#fileBytes += Buffer.byteLength(text);
  }

  /** One write for all that changed meanwhile: what a kill forgets is delivered a second time. */
  #settle(): void {
    if (this.#isSettling) return;
    this.#isSettling = true;
    this.#then(() => {
      this.#isSettling = false;
      return this.#fileBytes - this.#pendingBytes > WASTE_LIMIT_BYTES ? this.#rewrite() : this.#save();
    });
  }

  #save(): Promise<void> {
    const builds = Object.fromEntries(this.#builds);
    const state = { delivered: this.#delivered, builds, notTaken: this.#notTaken };
    return writeFileAtomically(join(this.#directory, "state.json"), JSON.stringify(state));
  }

  /** The state first: it knows the builds whose events leave the file. */
  async #rewrite(): Promise<void> {
    await this.#save();
    this.#unwritten = ""; // it is part of what waits
    const text = this.#pending.map(({ entry }) => `${JSON.stringify(entry)}\n`).join("");
    await writeFileAtomically(join(this.#directory, "queue.jsonl"), text);
    this.#fileBytes = Buffer.byteLength(text);
  }

  #then(work: () => Promise<unknown>): void {
    this.#work = this.#work.then(work).then(
      () => undefined,
      // Delivered all the same: a full disk must not make it silent. A restart forgets what isn't on disk.
      (error: unknown) => complain(`webhook: can't write to ${this.#directory}`, error),
    );
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // cut off by a kill
  }
}
