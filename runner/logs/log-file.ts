import { EventEmitter, once } from "node:events";
import { type FileHandle, mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { LOG_PAGE_LINES } from "../../functions/protocol/limits.ts";
import type { HostedLogLine, HostedLogPage } from "../../functions/protocol/runner-api.ts";
import { isSystemError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";

/** One segment is what rotation deletes at a time; five are days of an ordinary app's output. */
const SEGMENT_BYTES = 1024 * 1024;
const SEGMENTS = 5;
/** One page fits a control message and an answer of the internal API. */
const PAGE_BYTES = 256 * 1024;
/** Lines that come together are written together up to this size. */
const BATCH_BYTES = 64 * 1024;

/** Takes secrets out of text. */
export interface Masking {
  text(text: string): string;
  /** How many of the last characters may begin a secret. */
  held(text: string): number;
}

const noMask: Masking = { text: (text) => text, held: () => 0 };

export type LogLine = HostedLogLine;
export type LogPage = HostedLogPage;

interface Segment {
  start: number;
  size: number;
}

/**
 * A log of bounded size. A cursor counts the bytes ever written before a line, so it keeps its meaning through rotation
 * and restarts. On disk: segments named for the cursor of their first line, a JSON object for each line.
 */
export class LogFile {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #segmentLimit: number;
  readonly #segments: Segment[];
  #file: FileHandle | null = null;
  #work: Promise<void> = Promise.resolve();
  #lost = 0;
  readonly #growth = new EventEmitter().setMaxListeners(0);
  /** What is taken out of every line before it is written. */
  mask: Masking = noMask;

  private constructor(directory: string, segments: Segment[], segmentBytes: number, segmentLimit: number) {
    this.#directory = directory;
    this.#segments = segments;
    this.#segmentBytes = segmentBytes;
    this.#segmentLimit = segmentLimit;
  }

  static async open(
    directory: string,
    limits: { segmentBytes?: number; segments?: number; bytes?: number } = {},
  ): Promise<LogFile> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const starts = (await readdir(directory)).flatMap((name) => {
      const start = /^(\d{16})\.log$/.exec(name)?.[1];
      return start === undefined ? [] : [Number(start)];
    });
    starts.sort((a, b) => a - b);
    const segments: Segment[] = [];
    for (const start of starts) {
      segments.push({ start, size: (await stat(join(directory, fileName(start)))).size });
    }
    const log = new LogFile(
      directory,
      segments,
      limits.segmentBytes ??
        (limits.bytes === undefined ? SEGMENT_BYTES : Math.floor(limits.bytes / SEGMENTS)),
      limits.segments ?? SEGMENTS,
    );
    await log.#dropHalfLine();
    return log;
  }

  /** The cursor of the next line. */
  get cursor(): number {
    const last = this.#segments.at(-1);
    return last === undefined ? 0 : last.start + last.size;
  }

  /** Never rejects: on a full disk lines are lost, and their number is logged once there is room again. */
  append(lines: readonly LogLine[]): Promise<void> {
    this.#work = this.#work
      .then(() => this.#write(lines.map((line) => ({ ...line, text: this.mask.text(line.text) }))))
      .finally(() => {
        this.#growth.emit("grown");
      });
    return this.#work;
  }

  /** Resolves once there are lines after a cursor, and at the latest when the signal aborts or the log is closed. */
  async growth(cursor: number, signal: AbortSignal): Promise<void> {
    await this.#work;
    // Nobody was given a cursor beyond the end: reading it says so at once.
    if (this.cursor !== cursor || signal.aborted) return;
    await once(this.#growth, "grown", { signal }).catch(() => undefined); // nothing came in time
  }

  /** Lines from a cursor on, a page at most. 0 is the beginning of time. */
  async read(cursor: number, limit: number = LOG_PAGE_LINES): Promise<LogPage> {
    await this.#work;
    const oldest = this.#segments[0]?.start ?? 0;
    const isGone = cursor < oldest || cursor > this.cursor;
    const page: LogPage = { lines: [], cursor: isGone ? oldest : cursor, truncated: isGone && cursor !== 0 };
    if (isGone && cursor === 0) page.truncated = oldest > 0;
    let room = PAGE_BYTES;
    // A copy: rotation may take segments away while one is read.
    for (const segment of this.#segments.slice()) {
      if (page.cursor >= segment.start + segment.size) continue;
      if (room <= 0 || page.lines.length >= limit) break;
      const text = await this.#readSegment(segment, page.cursor - segment.start, room);
      if (text === null) {
        // Rotated away meanwhile, or deleted with everything else.
        if (this.#segments.includes(segment)) break;
        return this.read(cursor, limit);
      }
      room -= this.#take(page, text, limit);
      const end = segment.start + segment.size;
      // No line end: a write failed there, halfway.
      if (!text.includes(0x0a) && page.cursor + text.length >= end) page.cursor = end;
      if (page.cursor < end) break;
    }
    return page;
  }

  async close(): Promise<void> {
    await this.#work;
    this.#growth.emit("grown");
    await this.#file?.close();
    this.#file = null;
  }

  /** Adds the whole lines of a piece to a page; returns how many bytes they were. */
  #take(page: LogPage, data: Buffer, limit: number): number {
    let used = 0;
    while (page.lines.length < limit) {
      const end = data.indexOf(0x0a, used);
      if (end === -1) break;
      const line = parseLine(data.toString("utf8", used, end));
      if (line !== null) page.lines.push(line);
      used = end + 1;
    }
    page.cursor += used;
    return used;
  }

  async #readSegment(segment: Segment, offset: number, room: number): Promise<Buffer | null> {
    let file: FileHandle;
    try {
      file = await open(join(this.#directory, fileName(segment.start)), "r");
    } catch (error) {
      if (isSystemError(error, "ENOENT")) return null;
      throw error;
    }
    try {
      const buffer = Buffer.alloc(Math.min(Math.max(room, LINE_LIMIT_BYTES), segment.size - offset));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }

  async #write(lines: readonly LogLine[]): Promise<void> {
    const pending =
      this.#lost === 0 ? lines : [systemLine(`${this.#lost} lines were lost: the disk was full.`), ...lines];
    let batch: Buffer[] = [];
    let bytes = 0;
    for (const line of pending) {
      const data = Buffer.from(`${JSON.stringify(line)}\n`);
      if (bytes + data.length > Math.min(BATCH_BYTES, this.#segmentBytes)) {
        await this.#writeBatch(batch, bytes);
        batch = [];
        bytes = 0;
      }
      batch.push(data);
      bytes += data.length;
    }
    await this.#writeBatch(batch, bytes);
  }

  async #writeBatch(batch: Buffer[], bytes: number): Promise<void> {
    if (bytes === 0) return;
    try {
      const segment = await this.#segmentFor(bytes);
      await this.#file?.appendFile(Buffer.concat(batch));
      segment.size += bytes;
      this.#lost = 0;
    } catch (error) {
      this.#lost += batch.length;
      if (!isSystemError(error, "ENOSPC", "EDQUOT", "EIO")) complain("log: can't write", error);
      // Half a line must not become the beginning of the next.
      await this.#file?.truncate(this.#segments.at(-1)?.size ?? 0).catch(() => undefined);
    }
  }

  async #segmentFor(bytes: number): Promise<Segment> {
    let last = this.#segments.at(-1);
    if (last === undefined || (last.size > 0 && last.size + bytes > this.#segmentBytes)) {
      await this.#file?.close();
      this.#file = null;
      last = { start: this.cursor, size: 0 };
      this.#file = await open(join(this.#directory, fileName(last.start)), "a", 0o600);
      this.#segments.push(last);
      while (this.#segments.length > this.#segmentLimit) {
        const oldest = this.#segments.shift();
        if (oldest) await rm(join(this.#directory, fileName(oldest.start)), { force: true });
      }
    }
    this.#file ??= await open(join(this.#directory, fileName(last.start)), "a", 0o600);
    return last;
  }

  /** A runner that was killed while it wrote leaves a line without an end. */
  async #dropHalfLine(): Promise<void> {
    const last = this.#segments.at(-1);
    if (last === undefined || last.size === 0) return;
    const file = await open(join(this.#directory, fileName(last.start)), "r+");
    try {
      const data = await file.readFile();
      const whole = data.lastIndexOf(0x0a) + 1;
      if (whole < data.length) await file.truncate(whole);
      last.size = whole;
    } finally {
      await file.close();
    }
  }
}

/** The longest text that one line holds; longer ones are broken. */
export const TEXT_LIMIT = 16 * 1024;
/** A control character takes six bytes as JSON. */
const LINE_LIMIT_BYTES = 6 * TEXT_LIMIT + 1_024;

/** A line by the runner itself. */
export function systemLine(text: string, step?: string): LogLine {
  return { at: new Date().toISOString(), stream: "system", text, ...(step === undefined ? {} : { step }) };
}

function fileName(start: number): string {
  return `${String(start).padStart(16, "0")}.log`;
}

function parseLine(text: string): LogLine | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // A made-up cursor points into the middle of a line: go on at the next.
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const at = "at" in value && typeof value.at === "string" ? value.at : "";
  const line = "text" in value && typeof value.text === "string" ? value.text : null;
  const stream = "stream" in value ? value.stream : null;
  if (line === null || (stream !== "stdout" && stream !== "stderr" && stream !== "system")) return null;
  // Runners of the first builds wrote `phase`.
  const step = "step" in value ? value.step : "phase" in value ? value.phase : undefined;
  return { at, stream, text: line, ...(typeof step === "string" ? { step } : {}) };
}
