import { appendFile, readFile, truncate } from "node:fs/promises";
import type { BuildEvent, BuildFact } from "../../functions/protocol/builds.ts";
import { isSystemError } from "../runner-error.ts";
import type { Mask } from "../projects/mask.ts";
import { complain } from "../terminal/complain.ts";

/**
 * The events of one build on this runner's disk, a JSON object for each line. An event is written before anybody hears of
 * it, so a killed runner's successor goes on with the next number.
 */
export class EventLog {
  readonly #file: string;
  readonly #events: BuildEvent[];
  readonly #onWritten: () => void;
  /** Takes secrets out of every event. */
  readonly mask: Mask;
  #seq: number;
  #pending: BuildEvent[] = [];
  #writing: Promise<void> | null = null;

  private constructor(file: string, events: BuildEvent[], onWritten: () => void, mask: Mask) {
    this.#file = file;
    this.#events = events;
    this.#seq = events.length;
    this.#onWritten = onWritten;
    this.mask = mask;
  }

  /** A last line that a kill cut off is dropped. `onWritten` hears that there is more to send. */
  static async open(file: string, onWritten: () => void, mask: Mask): Promise<EventLog> {
    const text = await readFile(file, "utf8").catch((error: unknown) => {
      if (isSystemError(error, "ENOENT")) return "";
      throw error;
    });
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole.length < text.length) await truncate(file, Buffer.byteLength(whole));
    const lines = whole.split("\n").filter((line) => line !== "");
    return new EventLog(
      file,
      lines.map((line) => JSON.parse(line) as BuildEvent),
      onWritten,
      mask,
    );
  }

  /** The number of the last event, written or about to be. */
  get seq(): number {
    return this.#seq;
  }

  add(fact: BuildFact): void {
    this.#pending.push({ ...this.mask.value(fact), seq: ++this.#seq, at: new Date().toISOString() });
    this.#writing ??= this.#write();
  }

  /** Written events after a number, `limit` at most. */
  after(seq: number, limit: number): BuildEvent[] {
    return this.#events.slice(seq, seq + limit);
  }

  /** Resolves when all that was added is on disk. */
  async flushed(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  async #write(): Promise<void> {
    await Promise.resolve(); // so that what is added in one turn is written at once
    while (this.#pending.length > 0) {
      const batch = this.#pending;
      this.#pending = [];
      try {
        await appendFile(this.#file, batch.map((event) => `${JSON.stringify(event)}\n`).join(""));
      } catch (error) {
        // They are told all the same: a full disk must not make a build silent. A restart forgets them.
        complain(`build events: can't write ${this.#file}`, error);
      }
      this.#events.push(...batch);
      this.#onWritten();
    }
    this.#writing = null;
  }
}
