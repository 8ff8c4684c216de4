import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { expect, test } from "vitest";
import { z } from "zod";
import { workerMetrics } from "../../functions/observability/metrics.ts";
import type { Metric } from "../../functions/protocol/telemetry/prometheus.ts";
import { runnerMetrics } from "../../runner/observability/metrics.ts";
import { projectRoot } from "../../scripts/build/worker.ts";

const known: Record<string, Metric> = { ...workerMetrics, ...runnerMetrics };
const read = (name: string): Promise<string> => readFile(join(projectRoot, "docs/grafana", name), "utf8");

const dashboard = z.looseObject({
  panels: z.array(
    z.looseObject({
      id: z.number(),
      title: z.string(),
      targets: z.array(z.looseObject({ expr: z.string() })).default([]),
    }),
  ),
  annotations: z.looseObject({ list: z.array(z.looseObject({ expr: z.string() })) }),
  templating: z.looseObject({ list: z.array(z.looseObject({ name: z.string() })) }),
});

const rules = z.object({
  groups: z.array(
    z.object({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string(),
          expr: z.string(),
          for: z
            .string()
            .regex(/^\d+m$/)
            .optional(),
          labels: z.object({ severity: z.enum(["critical", "warning", "info"]) }),
          annotations: z.object({ summary: z.string(), description: z.string().optional() }),
        }),
      ),
    }),
  ),
});

async function expressions(): Promise<string[]> {
  const { panels, annotations } = dashboard.parse(JSON.parse(await read("dashboard.json")));
  const { groups } = rules.parse(parse(await read("alerts.yaml")));
  return [
    ...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    ...annotations.list.map(({ expr }) => expr),
    ...groups.flatMap((group) => group.rules.map(({ expr }) => expr)),
  ];
}

test("every metric that the dashboard and the alerts name exists", async () => {
  const named = (await expressions()).flatMap((text) => text.match(/signalbox_\w+/g) ?? []);
  expect(named.length).toBeGreaterThan(40);
  expect([...new Set(named)].filter((name) => !Object.hasOwn(known, name))).toEqual([]);
});

test("every label that they filter by is one of the metric's", async () => {
  for (const text of await expressions()) {
    for (const [, name = "", filters = ""] of text.matchAll(/(signalbox_\w+)\{([^}]*)\}/g)) {
      const labels = [...filters.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label]) => label);
      expect([name, labels.filter((label) => !known[name]?.labels?.includes(label ?? ""))]).toEqual([
        name,
        [],
      ]);
    }
  }
});

test("brackets are balanced, and counters are only read through rate or increase", async () => {
  for (const text of await expressions()) {
    for (const [open, close] of ["()", "{}", "[]"].map((pair) => pair.split("")))
      expect([text, text.split(open ?? "").length]).toEqual([text, text.split(close ?? "").length]);
    for (const name of text.match(/signalbox_\w+(?=(?:\{[^}]*\})?(?!\[|\w|\{))/g) ?? [])
      if (known[name]?.kind === "counter") expect([text, name]).toEqual([text, "isn't read through rate"]);
  }
});

test("panels have ids of their own, and all metrics of the Worker are shown or alerted on", async () => {
  const { panels } = dashboard.parse(JSON.parse(await read("dashboard.json")));
  const ids = panels.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  const text = (await expressions()).join("\n");
  const aside = ["signalbox_janitor_last_run_timestamp_seconds", "signalbox_spans_total"];
  expect(Object.keys(workerMetrics).filter((name) => !text.includes(name) && !aside.includes(name))).toEqual(
    [],
  );
});
