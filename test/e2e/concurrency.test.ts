import { expect, test } from "vitest";
import { violations } from "../../functions/apps/invariants.ts";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onEmbedded, onUpstash, type OpenStack } from "../helpers/both-stores.ts";
import { seededRandom } from "../helpers/random.ts";
import { until } from "../helpers/stack.ts";

const CLIENTS = 20;
const CALLS = 12;

interface AuditEntry {
  actor: string;
  action: string;
  fromVersion: number | null;
  toVersion: number | null;
}

/** Refusals that are right when others are at work too. Losing a race for a version isn't among them. */
const FAIR = new Set([
  "already_active",
  "not_ready",
  "no_previous_deployment",
  "too_many_deployments",
  "unknown_deployment",
  "deployment_finished",
]);

test.each([
  { store: "the embedded store", open: onEmbedded },
  { store: "Upstash", open: onUpstash },
])(
  "twenty clients who change an app at once each win a version of their own, on $store",
  async ({ open }) => {
    const { random } = seededRandom();
    const world = await open({ ROUTE_TTL_MS: "200" });
    const backend = await startBackendOfAll();
    try {
      const { stack } = world;
      expect((await stack.api("PUT", "/apps/crowd", { hosts: ["crowd.test"] })).status).toBe(201);
      const target = { kind: "url", url: backend.url };
      for (const id of ["v1", "v2"]) {
        await stack.api("POST", "/apps/crowd/deployments", { id, target });
        await stack.control.until("crowd", id, ["active"], 60_000);
      }
      const watcher = watch(world);
      const won: string[] = [];
      const unfair: string[] = [];
      const rollbackVersions: number[] = [];
      const client = async (index: number): Promise<void> => {
        for (let number = 0; number < CALLS; number++) {
          const key = { "idempotency-key": `client-${index}-${number}` };
          const dice = random();
          const id = `c${index}-${number}`;
          const known =
            random() < 0.5 ? `v${1 + Math.floor(random() * 2)}` : `c${Math.floor(random() * CLIENTS)}-0`;
          const [path, body, action] =
            dice < 0.2
              ? ["/apps/crowd/deployments", { id, target }, "deployment.create"]
              : dice < 0.6
                ? ["/apps/crowd/rollback", undefined, "app.rollback"]
                : [`/apps/crowd/deployments/${known}/promote`, undefined, "deployment.promote"];
          const answer = await stack.api("POST", path, body, key);
          if (answer.status === 200 || answer.status === 202) {
            won.push(action);
            if (action === "app.rollback") rollbackVersions.push(Number(answer.body["version"]));
          } else if (answer.status >= 500 || !FAIR.has(String(answer.body["code"]))) {
            unfair.push(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
          }
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(index)));
      expect(unfair).toEqual([]);
      const { entries, version } = await until(
        async () => ({ entries: await wholeAudit(world), version: (await world.document("crowd"))?.version }),
        (seen) => seen.entries.length === seen.version,
      );
      const looks = await watcher.stop();

      const versions = entries.map(({ toVersion }) => toVersion);
      expect(versions).toEqual(Array.from({ length: version ?? 0 }, (_, index) => index + 1));
      expect(
        entries.slice(1).every(({ fromVersion, toVersion }) => toVersion === (fromVersion ?? 0) + 1),
      ).toBe(true);
      const byOperator = entries.filter(({ actor }) => actor === "operator").map(({ action }) => action);
      expect(byOperator.toSorted()).toEqual(
        [...won, "app.create", "deployment.create", "deployment.create"].toSorted(),
      );
      expect(new Set(rollbackVersions).size).toBe(rollbackVersions.length);
      const rollbacks = entries
        .filter(({ action }) => action === "app.rollback")
        .map(({ toVersion }) => toVersion);
      // The audit is in order of versions.
      expect(rollbackVersions.toSorted((one, other) => one - other)).toEqual(rollbacks);
      console.log(
        `${won.length} of ${CLIENTS * CALLS} calls won one of ${versions.length} versions; ${looks} looks`,
      );
      expect(won.length).toBeGreaterThan(50);
    } finally {
      await backend.close();
      await world.stop();
    }
  },
);

/** A backend that is whichever deployment it is asked for. */
async function startBackendOfAll(): Promise<Backend> {
  const backend = await startBackend("all");
  backend.handler = (request, response) => {
    if (request.url !== "/_pulse/meta") return false;
    const id = request.headers["x-pulse-deployment"];
    response.end(JSON.stringify({ status: "ok", deployment_id: id }));
    return true;
  };
  return backend;
}

/** Looks at the document all the time: every version that it meets keeps the rules, and none is older than the last. */
function watch(world: OpenStack): { stop(): Promise<number> } {
  const over = new AbortController();
  let looks = 0;
  let version = 0;
  const loop = (async () => {
    while (!over.signal.aborted) {
      const document = await world.document("crowd");
      if (document) {
        expect(violations(document)).toEqual([]);
        expect(document.version).toBeGreaterThanOrEqual(version);
        version = document.version;
        looks += 1;
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  loop.catch(() => undefined);
  return {
    async stop() {
      over.abort();
      await loop;
      return looks;
    },
  };
}

/** Oldest first. */
async function wholeAudit(world: OpenStack): Promise<AuditEntry[]> {
  const entries: (AuditEntry & { id: string })[] = [];
  for (;;) {
    const before = entries.at(-1)?.id;
    const query = before === undefined ? "" : `&before=${before}`;
    const { body } = await world.stack.api("GET", `/audit?app=crowd&limit=500${query}`);
    const page = body["entries"];
    if (!Array.isArray(page) || page.length === 0) return entries.toReversed();
    entries.push(...page);
  }
}
