import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { setTimeout as sleep } from "node:timers/promises";
import { type LogFile, type LogLine, TEXT_LIMIT } from "./log-file.ts";

/** Beyond this a process waits: storing a flood as fast as it comes takes the processor from everybody's requests. */
const BURST_BYTES = 16 * 1024 * 1024;
const BYTES_PER_SECOND = 2 * 1024 * 1024;

/**
 * Writes what a process says to its log, line by line, and keeps the last lines for a failure's report. While the disk
 * is busy the process waits, so that its output never piles up in memory.
 */
export class Capture {
  readonly #log: LogFile;
  readonly #step: string;
  readonly #keep: number;
  readonly #pace: { burstBytes: number; bytesPerSecond: number };
  /** Of what came lately. */
  #bytes = 0;
  #at = performance.now();
  /** The last lines of both streams, oldest first. */
  readonly lastLines: string[] = [];

  constructor(
    log: LogFile,
    step: string,
    keep: number,
    pace = { burstBytes: BURST_BYTES, bytesPerSecond: BYTES_PER_SECOND },
  ) {
    this.#pace = pace;
    this.#log = log;
    this.#step = step;
    this.#keep = keep;
  }

  async read(stream: "stdout" | "stderr", output: Readable): Promise<void> {
    const decoder = new StringDecoder("utf8");
    let rest = "";
    try {
      for await (const chunk of output) {
        if (!(chunk instanceof Uint8Array)) continue;
        const parts = (rest + decoder.write(chunk)).split(/\r?\n/);
        rest = parts.pop() ?? "";
        while (rest.length >= TEXT_LIMIT) {
          rest = this.#log.mask.text(rest);
          // A secret isn't cut in two: its halves would show.
          const end = Math.min(TEXT_LIMIT, rest.length - this.#log.mask.held(rest));
          parts.push(rest.slice(0, end));
          rest = rest.slice(end);
        }
        await this.#store(stream, parts);
        await this.#wait(chunk.byteLength);
      }
    } catch (error) {
      await this.#store(stream, [rest, `(the output broke off: ${String(error)})`]);
      return;
    }
    rest += decoder.end();
    if (rest !== "") await this.#store(stream, [rest]);
  }

  async #wait(bytes: number): Promise<void> {
    const { burstBytes, bytesPerSecond } = this.#pace;
    const now = performance.now();
    this.#bytes = Math.max(0, this.#bytes - ((now - this.#at) / 1_000) * bytesPerSecond) + bytes;
    this.#at = now;
    const over = this.#bytes - burstBytes;
    if (over > 0) await sleep((over / bytesPerSecond) * 1_000, undefined, { ref: false });
  }

  async #store(stream: "stdout" | "stderr", texts: readonly string[]): Promise<void> {
    const at = new Date().toISOString();
    const lines: LogLine[] = [];
    for (const raw of texts) {
      const text = this.#log.mask.text(raw);
      for (let start = 0; start === 0 || start < text.length; start += TEXT_LIMIT) {
        lines.push({ at, stream, text: text.slice(start, start + TEXT_LIMIT), step: this.#step });
      }
    }
    if (lines.length === 0) return;
    this.lastLines.push(...lines.slice(-this.#keep).map(({ text }) => text));
    this.lastLines.splice(0, this.lastLines.length - this.#keep);
    await this.#log.append(lines);
  }
}
