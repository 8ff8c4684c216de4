import { expect, test } from "vitest";
import { Counters } from "../../functions/observability/counters.ts";
import { workerMetrics } from "../../functions/observability/metrics.ts";
import { prometheusText, type Sample } from "../../functions/protocol/telemetry/prometheus.ts";
import { currencyLabel, grown } from "../../functions/protocol/telemetry/usage.ts";
import { Counts, serviceLabels } from "../../runner/observability/counts.ts";
import { runnerMetrics } from "../../runner/observability/metrics.ts";

function valueOf(samples: readonly Sample[], name: string, ...labels: string[]): number | undefined {
  return samples.find((one) => one[0] === name && one[1].join() === labels.join())?.[2];
}

test("every metric has a help text and a name of Prometheus' alphabet; counters end as Prometheus wants", () => {
  for (const [name, { help, kind, labels = [] }] of Object.entries({ ...workerMetrics, ...runnerMetrics })) {
    expect(name).toMatch(/^signalbox_[a-z_]+$/);
    expect(help).toMatch(/^[A-Z1].*\.$/);
    if (kind === "counter") expect(name).toMatch(/_(?:total|bucket|sum|count)$/);
    for (const label of labels) expect(label).toMatch(/^[a-z]+$/);
  }
});

test("a label's value can't end its line or its quotes", () => {
  const metrics = { signalbox_x: { kind: "gauge", help: "X.", labels: ["a"] } } as const;
  expect(prometheusText(metrics, [["signalbox_x", ['a"b\\c\nd'], 1]])).toBe(
    '# HELP signalbox_x X.\n# TYPE signalbox_x gauge\nsignalbox_x{a="a\\"b\\\\c\\nd"} 1\n',
  );
});

test("a metric without a value is there by its type", () => {
  const text = prometheusText(workerMetrics, []);
  for (const name of Object.keys(workerMetrics)) expect(text).toContain(`# TYPE ${name} `);
});

test("requests are counted by app, deployment and class, and taken once", () => {
  const counters = new Counters();
  expect(counters.isEmpty).toBe(true);
  for (const status of [200, 204, 302, 404, 502])
    counters.request({ app: "shop", deployment: "v1" }, status, 20);
  counters.request({ app: "", deployment: "" }, 404, 6_000);
  counters.bytesIn += 7;
  const samples = counters.take();
  expect(valueOf(samples, "signalbox_requests_total", "shop", "v1", "2xx")).toBe(2);
  expect(valueOf(samples, "signalbox_requests_total", "shop", "v1", "5xx")).toBe(1);
  expect(valueOf(samples, "signalbox_requests_total", "-", "-", "4xx")).toBe(1);
  expect(valueOf(samples, "signalbox_request_seconds_bucket", "shop", "0.01")).toBe(0);
  expect(valueOf(samples, "signalbox_request_seconds_bucket", "shop", "0.05")).toBe(5);
  expect(valueOf(samples, "signalbox_request_seconds_bucket", "shop", "+Inf")).toBe(5);
  expect(valueOf(samples, "signalbox_request_seconds_bucket", "-", "5")).toBe(0);
  expect(valueOf(samples, "signalbox_request_seconds_sum", "shop")).toBeCloseTo(0.1);
  expect(valueOf(samples, "signalbox_tunnel_bytes_total", "in")).toBe(7);
  expect(counters.isEmpty).toBe(true);
  expect(counters.take()).toEqual([]);
});

test("more apps and deployments than an isolate keeps are counted as other", () => {
  const counters = new Counters();
  for (let index = 0; index < 5_000; index++)
    counters.request({ app: `app-${index % 10}`, deployment: `v${index}` }, 200, 1);
  for (let index = 0; index < 100; index++)
    counters.request({ app: `new-${index}`, deployment: "v1" }, 200, 1);
  const requests = counters.take().filter(([name]) => name === "signalbox_requests_total");
  expect(requests.length).toBeLessThan(2_050);
  expect(requests.reduce((sum, [, , value]) => sum + value, 0)).toBe(5_100);
  expect(requests.filter(([, [app]]) => app === "other")).toHaveLength(1);
});

test("a runner's series are bounded, too", () => {
  const counts = new Counts();
  for (let index = 0; index < 2_000; index++)
    counts.add("signalbox_runner_requests_total", [`app-${index}`, "v1", "2xx"]);
  expect(counts.samples()).toHaveLength(501);
  expect(valueOf(counts.samples(), "signalbox_runner_requests_total", "other", "other", "other")).toBe(1_500);
});

test.each([
  ["shop/v1", ["shop", "v1"]],
  ["project:site", ["project:site", "-"]],
  ["project:site/5174", ["project:site", "5174"]],
  ["@runner", ["@runner", "-"]],
])("the service %s has the labels %j", (service, labels) => {
  expect(serviceLabels(service)).toEqual(labels);
});

test("a figure that begins anew with a session only grows", () => {
  expect([grown(0, 10), grown(10, 25), grown(25, 4)]).toEqual([10, 15, 4]);
  expect(["USD", "usd", "a\nb"].map(currencyLabel)).toEqual(["USD", "other", "other"]);
});
