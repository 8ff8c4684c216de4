import { appendFile, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Capture } from "../../runner/logs/capture.ts";
import { LogFile, type LogLine, systemLine, TEXT_LIMIT } from "../../runner/logs/log-file.ts";

let directory: string;
const limits = { segmentBytes: 2_000, segments: 3 };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "signalbox-logs-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const line = (text: string): LogLine => ({ at: "2026-11-22T00:00:00.000Z", stream: "stdout", text });
const texts = (lines: LogLine[]): string[] => lines.map(({ text }) => text);
const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => `line ${from + index}`);

test("a reader that follows sees every line once, over pages, rotations and restarts", async () => {
  let log = await LogFile.open(directory, limits);
  const seen: string[] = [];
  let cursor = 0;
  for (let round = 0; round < 40; round++) {
    await log.append(numbered(round * 10, round * 10 + 10).map(line));
    if (round % 7 === 3) {
      await log.close();
      log = await LogFile.open(directory, limits);
    }
    for (;;) {
      const page = await log.read(cursor, 4);
      expect(page.truncated).toBe(false);
      expect(page.cursor).toBeGreaterThanOrEqual(cursor);
      cursor = page.cursor;
      if (page.lines.length === 0) break;
      seen.push(...texts(page.lines));
    }
  }
  expect(seen).toEqual(numbered(0, 400));
  expect(cursor).toBe(log.cursor);
  await log.close();
});

test("a log of the first builds, which said `phase`, is read", async () => {
  await (await LogFile.open(directory)).close();
  const written = { at: "2026-11-22T00:00:00.000Z", stream: "stdout", text: "built" };
  await appendFile(
    join(directory, `${"0".repeat(16)}.log`),
    `${JSON.stringify({ ...written, phase: "build" })}\n`,
  );
  const log = await LogFile.open(directory);
  expect((await log.read(0)).lines).toEqual([{ ...written, step: "build" }]);
  await log.close();
});

test("a cursor that was rotated away says so and goes on with the oldest line there is", async () => {
  const log = await LogFile.open(directory, limits);
  await log.append([line("line 0")]);
  const { cursor } = await log.read(0);
  await log.append(numbered(1, 500).map(line));
  const page = await log.read(cursor);
  expect(page.truncated).toBe(true);
  const first = Number(page.lines[0]?.text.split(" ")[1]);
  expect(first).toBeGreaterThan(1);
  expect(texts(page.lines)).toEqual(numbered(first, 500));
  expect((await log.read(page.cursor)).truncated).toBe(false);
  expect((await log.read(0)).truncated).toBe(true);
  await log.close();
});

test("the log stays below its limit on disk", async () => {
  const log = await LogFile.open(directory, limits);
  for (let round = 0; round < 20; round++) await log.append(numbered(0, 100).map(line));
  const names = await readdir(directory);
  expect(names.length).toBeLessThanOrEqual(3);
  for (const name of names) expect((await stat(join(directory, name))).size).toBeLessThanOrEqual(2_000);
  await log.close();
});

test("a cursor from another log, beyond the end, starts over and says so", async () => {
  const log = await LogFile.open(directory, limits);
  await log.append([line("only")]);
  const page = await log.read(1_000_000);
  expect(page).toMatchObject({ truncated: true, lines: [{ text: "only" }] });
  await log.close();
});

test("a cursor into the middle of a line goes on with the next", async () => {
  const log = await LogFile.open(directory, limits);
  await log.append([line("first"), line("second")]);
  expect(texts((await log.read(7)).lines)).toEqual(["second"]);
  await log.close();
});

test("half a line of a killed runner is dropped, and the next line is whole", async () => {
  let log = await LogFile.open(directory, limits);
  await log.append([line("before")]);
  await log.close();
  const [name = ""] = await readdir(directory);
  await appendFile(join(directory, name), '{"at":"2026-');
  log = await LogFile.open(directory, limits);
  await log.append([line("after")]);
  expect(texts((await log.read(0)).lines)).toEqual(["before", "after"]);
  await log.close();
});

test("output is split into lines whatever its chunks, and too long lines are broken", async () => {
  const log = await LogFile.open(directory);
  const capture = new Capture(log, "build", 3);
  const text = Buffer.from("grüße\r\nzwei\n\nvier");
  await capture.read("stdout", Readable.from([...text].map((byte) => Buffer.from([byte]))));
  await capture.read("stderr", Readable.from([Buffer.from("x".repeat(2 * TEXT_LIMIT + 5))]));
  const { lines } = await log.read(0);
  expect(texts(lines).slice(0, 4)).toEqual(["grüße", "zwei", "", "vier"]);
  expect(lines[0]).toMatchObject({ stream: "stdout", step: "build" });
  expect(lines.slice(4).map(({ text, stream }) => [stream, text.length])).toEqual([
    ["stderr", TEXT_LIMIT],
    ["stderr", TEXT_LIMIT],
    ["stderr", 5],
  ]);
  expect(capture.lastLines.map((kept) => kept.length)).toEqual([TEXT_LIMIT, TEXT_LIMIT, 5]);
  await log.close();
});

test("lines with control characters and very many lines come back page by page", async () => {
  const log = await LogFile.open(directory);
  await log.append(Array.from({ length: 20 }, () => systemLine("\u0001".repeat(TEXT_LIMIT))));
  let cursor = 0;
  let count = 0;
  for (;;) {
    const page = await log.read(cursor);
    if (page.lines.length === 0) break;
    count += page.lines.length;
    cursor = page.cursor;
  }
  expect(count).toBe(20);
  await log.close();
});

test("whoever waits for lines is woken by the next one, by the end of their time and by the log's end", async () => {
  const log = await LogFile.open(directory, limits);
  await log.append([line("one")]);
  const { cursor } = log;
  const never = new AbortController().signal;
  await log.growth(0, never);
  await log.growth(cursor + 1, never);

  const grown = log.growth(cursor, never);
  await log.append([line("two")]);
  await grown;
  expect(texts((await log.read(cursor)).lines)).toEqual(["two"]);
  await log.growth(log.cursor, AbortSignal.timeout(20));
  await log.growth(log.cursor, AbortSignal.abort());
  const ended = log.growth(log.cursor, never);
  await log.close();
  await ended;
});

test("reading a log whose files were deleted with everything else comes to an end", async () => {
  const log = await LogFile.open(directory, limits);
  await log.append(numbered(0, 100).map(line));
  await rm(directory, { recursive: true });
  expect((await log.read(0)).lines).toEqual([]);
  await log.close();
});

test("a flood waits for its time, and no line of it is lost", async () => {
  const log = await LogFile.open(directory);
  const capture = new Capture(log, "run", 1, { burstBytes: 1_000, bytesPerSecond: 10_000 });
  const startedAt = performance.now();
  // The first thousand at once, and the others within 200 ms.
  await capture.read("stdout", Readable.from(numbered(0, 375).map((text) => Buffer.from(`${text}\n`))));
  expect(performance.now() - startedAt).toBeGreaterThan(150);
  expect(texts((await log.read(0)).lines)).toEqual(numbered(0, 375));
  await log.close();
});
