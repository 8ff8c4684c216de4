import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import type { MetricsHub, RunnerFacts } from "../../functions/observability/hub.ts";
import type { Sample } from "../../functions/protocol/telemetry/prometheus.ts";

declare global {
  namespace Cloudflare {
    interface Env {
      METRICS_HUB: DurableObjectNamespace<MetricsHub>;
    }
  }
}

const hub = (name: string): DurableObjectStub<MetricsHub> => env.METRICS_HUB.getByName(name);

async function read(name: string): Promise<Map<string, number>> {
  const samples = JSON.parse(await hub(name).read()) as Sample[];
  return new Map(samples.map(([metric, labels, value]) => [[metric, ...labels].join(" "), value]));
}

const requests = (value: number, deployment = "v1"): Sample => [
  "signalbox_requests_total",
  ["shop", deployment, "2xx"],
  value,
];

test("isolates' counts add up, and a flush that is sent again counts once", async () => {
  await hub("sums").add("one", 1, [requests(2)]);
  await hub("sums").add("one", 1, [requests(2)]);
  await hub("sums").add("two", 1, [requests(3)]);
  await hub("sums").add("one", 2, [requests(5)]);
  await hub("sums").add("one", 1, [requests(2)]);
  expect((await read("sums")).get("signalbox_requests_total shop v1 2xx")).toBe(10);
});

test("counts outlive the object", async () => {
  await hub("evicted").add("one", 1, [requests(2)]);
  await evictDurableObject(hub("evicted"));
  await hub("evicted").add("one", 1, [requests(2)]);
  await hub("evicted").add("one", 2, [requests(1)]);
  expect((await read("evicted")).get("signalbox_requests_total shop v1 2xx")).toBe(3);
});

test("past its limit of series, new deployments are one series, and old ones go on", async () => {
  const many = Array.from({ length: 5_100 }, (_, index) => requests(1, `v${index}`));
  await hub("full").add("one", 1, many);
  await hub("full").add("one", 2, [requests(1, "v7"), requests(1, "newest")]);
  const seen = await read("full");
  expect(seen.get("signalbox_requests_total other other 2xx")).toBe(101);
  expect(seen.get("signalbox_requests_total shop v7 2xx")).toBe(2);
  expect(seen.size).toBeLessThan(5_010);
});

test("a series that nobody added to for a week is gone", async () => {
  await hub("old").add("one", 1, [requests(1, "old"), requests(1, "new")]);
  await runInDurableObject(hub("old"), (_, ctx) => {
    ctx.storage.sql.exec("UPDATE series SET at = at - 8 * 86400000 WHERE key LIKE '%\"old\"%'");
  });
  await evictDurableObject(hub("old"));
  await hub("old").add("one", 2, [requests(1, "new")]);
  const seen = await read("old");
  expect(seen.has("signalbox_requests_total shop old 2xx")).toBe(false);
  expect(seen.get("signalbox_requests_total shop new 2xx")).toBe(2);
});

test("runners are summed up by state, and only connected ones count for disk and streams", async () => {
  const facts: RunnerFacts = {
    state: "online",
    conflict: false,
    streams: 3,
    freeBytes: 500,
    lowOnDisk: false,
    builds: { running: 1 },
  };
  await hub("runners").runner("a", facts);
  await hub("runners").runner("b", {
    ...facts,
    freeBytes: 200,
    lowOnDisk: true,
    builds: { running: 1, waiting: 2 },
  });
  await hub("runners").runner("c", { ...facts, state: "offline", freeBytes: 1, conflict: true, builds: {} });
  await hub("runners").runner("gone", facts);
  await hub("runners").runner("gone", null);
  const seen = await read("runners");
  expect(Object.fromEntries(seen)).toEqual({
    "signalbox_runners online": 2,
    "signalbox_runners offline": 1,
    "signalbox_builds running": 2,
    "signalbox_builds waiting": 2,
    signalbox_runners_conflicting: 1,
    signalbox_runners_low_on_disk: 1,
    signalbox_runner_disk_free_bytes_min: 200,
    signalbox_tunnel_streams: 6,
  });
});
