import { setTimeout as sleep } from "node:timers/promises";
import { createLogUpdate } from "log-update";
import { printableLine } from "../../../functions/protocol/printable.ts";
import { ControlProblem, ControlUnreachable } from "../../client/control-client.ts";
import type { CommandContext } from "../context.ts";
import { readEvents } from "./event-stream.ts";

/** Without word of changes, from a server that has none or is away. */
const REREAD_MS = 2_000;
/** With it: what changes by itself, as the age of a drain. */
const REREAD_WHILE_TOLD_MS = 15_000;
/** Changes come in bursts: one look for all of them. */
const BURST_MS = 200;

/** What is looked at, as it is now. */
export interface Look {
  value: unknown;
  /** The picture. */
  text: string;
  /** One line for each thing, by its name, without what changes by itself. */
  facts: ReadonlyMap<string, string>;
}

/** Opens the stream of what changes. */
export type OpensChanges = (signal: AbortSignal) => Promise<ReadableStream<Uint8Array> | null>;

/**
 * Shows a look again and again, until Ctrl-C. In a terminal it is redrawn in place; a pipe gets a line for each thing that
 * changed, and with `--json` a document for each change. A server that is away is waited for.
 */
export async function watch(
  context: CommandContext,
  look: () => Promise<Look>,
  changes: OpensChanges,
): Promise<void> {
  const { output, signal } = context;
  // Ctrl-C is how one stops looking.
  context.interruption = "";
  const live = output.live ? createLogUpdate(process.stdout) : null;
  context.atEnd(() => live?.done());
  const news = new News(changes, signal);
  let known: ReadonlyMap<string, string> | null = null;
  let picture = "";
  let shown = "";
  let away = "";
  while (!signal.aborted) {
    try {
      const { value, text, facts } = await look();
      if (away !== "" && live === null) output.remark("The server is back.");
      away = "";
      picture = text;
      const document = JSON.stringify([...facts]);
      if (live === null && document !== shown) {
        output.event(value, () => null);
        if (!output.json) sayChanges(context, known, facts);
      }
      shown = document;
      known = facts;
    } catch (error) {
      // What is wrong from the start is for the caller; what goes wrong later may pass.
      if (known === null || !mayPass(error)) throw error;
      const why = printableLine(error.message);
      if (away !== why && live === null) output.remark(`${why} Trying again.`);
      away = why;
    }
    live?.(output.rendered(`${picture}\n\n${footer(context, away)}`));
    await news.next();
  }
}

function footer({ output: { style } }: CommandContext, away: string): string {
  return away === "" ? style.dim("live; Ctrl-C ends") : style.yellow(`${away} Trying again.`);
}

function sayChanges(
  { output }: CommandContext,
  before: ReadonlyMap<string, string> | null,
  now: ReadonlyMap<string, string>,
): void {
  const at = new Date().toISOString();
  for (const [name, fact] of now)
    if (before?.get(name) !== fact) output.say(`${at} ${printableLine(name)} ${printableLine(fact)}`);
  for (const name of before?.keys() ?? [])
    if (!now.has(name)) output.say(`${at} ${printableLine(name)} gone`);
}

function mayPass(error: unknown): error is Error {
  return error instanceof ControlUnreachable || (error instanceof ControlProblem && error.status >= 500);
}

/** When it is time to look again: at a change where the server tells of changes, else after a while. */
class News {
  readonly #open: OpensChanges;
  readonly #signal: AbortSignal;
  #isReading = false;
  #endedAt = -Infinity;
  #hasNews = false;
  #wake = (): void => {};

  constructor(open: OpensChanges, signal: AbortSignal) {
    this.#open = open;
    this.#signal = signal;
  }

  async next(): Promise<void> {
    // Not before the first look, whose failure is the command's.
    if (!this.#isReading && performance.now() - this.#endedAt > REREAD_MS) void this.#read();
    if (!this.#hasNews) {
      const done = new AbortController();
      const told = new Promise<void>((resolve) => (this.#wake = resolve));
      const ms = this.#isReading ? REREAD_WHILE_TOLD_MS : REREAD_MS;
      const later = sleep(ms, undefined, { signal: AbortSignal.any([done.signal, this.#signal]) });
      await Promise.race([told, later.catch(() => undefined)]);
      done.abort();
    }
    if (this.#hasNews) await sleep(BURST_MS, undefined, { signal: this.#signal }).catch(() => undefined);
    this.#hasNews = false;
  }

  async #read(): Promise<void> {
    try {
      const stream = await this.#open(this.#signal);
      if (stream === null) return;
      this.#isReading = true;
      // Something may have changed before it was open.
      this.#tell();
      for await (const { event } of readEvents(stream)) if (event === "changed") this.#tell();
    } catch {
      return; // the looks themselves say what is wrong
    } finally {
      // One that ends may have told less than there was.
      if (this.#isReading) this.#tell();
      this.#isReading = false;
      this.#endedAt = performance.now();
    }
  }

  #tell(): void {
    this.#hasNews = true;
    this.#wake();
  }
}
