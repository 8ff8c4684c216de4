import { expect, test } from "vitest";
import {
  otlpTraces,
  parseTracing,
  sendSpans,
  WaitingSpans,
  type Span,
} from "../../functions/protocol/telemetry/spans.ts";
import {
  childContext,
  formatTraceparent,
  isNameSampled,
  namedSpanId,
  namedTraceId,
  parseTraceparent,
} from "../../functions/protocol/telemetry/traceparent.ts";
import { spansOf, startSink } from "../helpers/sink.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

test("a traceparent is read and written as the standard has it", () => {
  const context = { traceId: TRACE, spanId: SPAN, isSampled: true };
  expect(parseTraceparent(`00-${TRACE}-${SPAN}-01`)).toEqual(context);
  expect(formatTraceparent(context)).toBe(`00-${TRACE}-${SPAN}-01`);
  expect(parseTraceparent(`00-${TRACE}-${SPAN}-00`)?.isSampled).toBe(false);
  expect(parseTraceparent(`cc-${TRACE}-${SPAN}-01-what-comes-later`)).toEqual(context);
});

test.each([
  ["nothing", null],
  ["an empty text", ""],
  ["a trace of zeros", `00-${"0".repeat(32)}-${SPAN}-01`],
  ["a span of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
  ["upper case", `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ["the forbidden version", `ff-${TRACE}-${SPAN}-01`],
  ["more than version 00 has", `00-${TRACE}-${SPAN}-01-more`],
  ["two of them", `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
])("%s is no traceparent", (_, text) => {
  expect(parseTraceparent(text)).toBeNull();
});

test("a child keeps the trace and whether it is sampled; new traces are sampled by the ratio", () => {
  const parent = { traceId: TRACE, spanId: SPAN, isSampled: false };
  const child = childContext(parent, 1);
  expect(child).toMatchObject({ traceId: TRACE, isSampled: false });
  expect(child.spanId).toMatch(/^[0-9a-f]{16}$/);
  expect(child.spanId).not.toBe(SPAN);
  expect([childContext(null, 1).isSampled, childContext(null, 0).isSampled]).toEqual([true, false]);
  expect(childContext(null, 0).traceId).toMatch(/^[0-9a-f]{32}$/);
});

test("named traces are the same everywhere, different from each other, and sampled by the ratio", () => {
  const names = Array.from({ length: 2_000 }, (_, index) => `shop/prod-${index}/1`);
  const ids = names.map(namedTraceId);
  expect(namedTraceId("shop/prod-7/1")).toBe(ids[7]);
  expect(new Set(ids).size).toBe(names.length);
  expect(new Set(names.map(namedSpanId)).size).toBe(names.length);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
  const sampled = names.filter((name) => isNameSampled(name, 0.25)).length;
  expect(sampled / names.length).toBeGreaterThan(0.2);
  expect(sampled / names.length).toBeLessThan(0.3);
});

test("the settings of the exporter", () => {
  expect(parseTracing("http://collector:4318/", "a=b%20c, x-key=1", "0.5")).toEqual({
    url: "http://collector:4318/v1/traces",
    headers: { a: "b c", "x-key": "1" },
    ratio: 0.5,
  });
  expect(parseTracing("https://collector", null, null)).toMatchObject({ headers: {}, ratio: 1 });
  for (const [endpoint, headers, ratio] of [
    ["collector:4318", null, null],
    ["https://collector?x=1", null, null],
    ["https://collector", "no value", null],
    ["https://collector", "a=%zz", null],
    ["https://collector", null, "2"],
    ["https://collector", null, "half"],
  ] as const)
    expect([endpoint, headers, ratio, parseTracing(endpoint, headers, ratio)]).toEqual([
      endpoint,
      headers,
      ratio,
      null,
    ]);
});

const span: Span = {
  traceId: TRACE,
  spanId: SPAN,
  parentSpanId: null,
  name: "edge request",
  kind: "server",
  startMs: 1_700_000_000_000.5,
  endMs: 1_700_000_000_001,
  attributes: { text: "a", number: 200 },
  isError: true,
};

test("spans have OTLP's shape, with times as texts of nanoseconds", () => {
  const { resourceSpans } = JSON.parse(otlpTraces([span], { "service.name": "x" }));
  expect(resourceSpans[0].resource.attributes).toEqual([
    { key: "service.name", value: { stringValue: "x" } },
  ]);
  expect(resourceSpans[0].scopeSpans[0].spans[0]).toEqual({
    traceId: TRACE,
    spanId: SPAN,
    name: "edge request",
    kind: 2,
    startTimeUnixNano: "1700000000000500000",
    endTimeUnixNano: "1700000000001000000",
    attributes: [
      { key: "text", value: { stringValue: "a" } },
      { key: "number", value: { intValue: "200" } },
    ],
    status: { code: 2 },
  });
});

test("spans arrive over a socket with the headers; a collector that refuses or is away costs no error", async () => {
  const sink = await startSink();
  const settings = parseTracing(sink.url, "authorization=Bearer%20abc", null);
  if (settings === null) throw new Error("the settings are right");
  expect(await sendSpans(settings, [span], { "service.name": "x" })).toBe(true);
  expect(sink.sent[0]).toMatchObject({
    path: "/v1/traces",
    headers: { authorization: "Bearer abc", "content-type": "application/json" },
  });
  expect(spansOf(sink)).toMatchObject([
    { service: "x", name: "edge request", attributes: { number: "200" } },
  ]);
  sink.status = 503;
  expect(await sendSpans(settings, [span], {})).toBe(false);
  await sink.close();
  expect(await sendSpans(settings, [span], {})).toBe(false);
});

test("what waits is bounded, and what was dropped is said", () => {
  const waiting = new WaitingSpans();
  for (let count = 0; count < 600; count++) waiting.add(span);
  const { spans, dropped } = waiting.take();
  expect([spans.length, dropped]).toEqual([512, 88]);
  expect(waiting.isEmpty).toBe(true);
});
