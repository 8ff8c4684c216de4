import { expect, test } from "vitest";
import {
  hostedStates,
  parseHostedDeployment,
  parseHostedLogPage,
  parseRunnerRefusal,
  parseStoredSource,
  type HostedDeployment,
} from "../../functions/protocol/runner-api.ts";
import { printableLine } from "../../functions/protocol/printable.ts";
import { reportedLoadOf } from "../../functions/runners/status-event.ts";

const hosted: HostedDeployment = {
  app: "shop",
  id: "v1",
  state: "running",
  reason: null,
  lastLines: [],
  port: 3000,
  crashes: 0,
  source: { sha256: "0".repeat(64) },
  confinement: { level: "sandbox", network: "own", allowed: null, why: null },
  logCursor: 12,
  createdAt: "2026-11-30T12:00:00Z",
  updatedAt: "2026-11-30T12:00:00Z",
};

test.each(hostedStates)("a hosted deployment is %s", (state) => {
  expect(parseHostedDeployment({ ...hosted, state, later: 1 })).toEqual({ ...hosted, state });
});

test.each([
  null,
  [],
  "running",
  { ...hosted, state: "resting" },
  { ...hosted, state: undefined },
  { ...hosted, reason: 7 },
  { ...hosted, lastLines: [7] },
  { ...hosted, port: -1 },
  { ...hosted, port: "3000" },
  { ...hosted, crashes: 0.5 },
  { ...hosted, source: {} },
  { ...hosted, logCursor: Number.NaN },
  { ...hosted, createdAt: 0 },
])("%j is no hosted deployment", (value) => {
  expect(parseHostedDeployment(value)).toBeNull();
});

test("a page of a log has whole lines and a cursor", () => {
  const line = { at: "2026-11-30T12:00:00Z", stream: "stdout", text: "up" };
  const page = { lines: [line, { ...line, step: "build" }], cursor: 3, truncated: true };
  expect(parseHostedLogPage(page)).toEqual(page);
  const older = { ...page, lines: [line, { ...line, phase: "build" }] };
  expect(parseHostedLogPage(older)).toEqual(page);
  // Runners before `truncated`.
  expect(parseHostedLogPage({ lines: [], cursor: 3 })).toEqual({ lines: [], cursor: 3, truncated: false });
  for (const wrong of [
    { ...page, cursor: -1 },
    { ...page, truncated: 1 },
    { ...page, lines: [{ ...line, stream: "stdin" }] },
    { ...page, lines: [{ ...line, step: 1 }] },
    { ...page, lines: [null] },
    { ...page, lines: {} },
  ]) {
    expect(parseHostedLogPage(wrong)).toBeNull();
  }
});

test("a line of a log is cut; its colours stay", () => {
  const line = {
    at: "x".repeat(1_000),
    stream: "stdout",
    text: `\u001b[31m${"y".repeat(100_000)}`,
    step: "a\u0007",
  };
  const [cut] = parseHostedLogPage({ lines: [line], cursor: 1, truncated: false })?.lines ?? [];
  expect(cut?.at).toHaveLength(100);
  expect(cut?.text).toHaveLength(16 * 1024);
  expect(cut?.text.startsWith("\u001b[31my")).toBe(true);
  expect(cut?.step).toBe("a␇");
});

test("labels with control characters or over the limit are left out", () => {
  const labels = { region: "eu", "a\u001b[2J": "b", gpu: "y\nes", wide: "x".repeat(64), lone: "\ud800" };
  const { labels: kept } = reportedLoadOf({ type: "runner-status", timestamp: "", payload: { labels } });
  expect(kept).toEqual({ region: "eu" });
});

test("a stored source has a SHA-256 and a size", () => {
  expect(parseStoredSource({ sha256: "a".repeat(64), bytes: 20 })).toEqual({
    sha256: "a".repeat(64),
    bytes: 20,
  });
  expect(parseStoredSource({ sha256: "A".repeat(64), bytes: 20 })).toBeNull();
  expect(parseStoredSource({ sha256: "a".repeat(64), bytes: -1 })).toBeNull();
});

test("a refusal's texts are cut and lose their control characters", () => {
  const refusal = parseRunnerRefusal({
    code: "x".repeat(300),
    detail: `\u001b]0;title\u0007${"y".repeat(10_000)}`,
    field: "env\r\nA",
  });
  expect(refusal?.code).toHaveLength(100);
  expect(refusal?.detail).toHaveLength(500);
  expect(refusal?.detail).toMatch(/^y+…$/);
  expect(refusal?.field).toBe("env A");
  expect(parseRunnerRefusal({ code: "x" })).toBeNull();
});

test.each([
  ["plain", "plain"],
  ["a\u001b[2Jb", "ab"],
  ["a\u009b2Jb", "ab"],
  ["a\u202eb\u2066c\u2028d", "a\ufffdb\ufffdc\ufffdd"],
  ["a\ud800b", "a\ufffdb"],
  ["Łódź 日本 👩‍🚀", "Łódź 日本 👩‍🚀"],
  ["0123456789abcdefXYZ", "0123456789abcde…"],
])("in a line %j is %j", (text, shown) => {
  expect(printableLine(text, 16)).toBe(shown);
});
