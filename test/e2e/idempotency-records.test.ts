import { afterAll, beforeAll, expect, test } from "vitest";
import { appConfig, newAppDocument, type AppDocument } from "../../functions/apps/app-document.ts";
import type { AppCommand } from "../../functions/apps/command.ts";
import { commitDocument } from "../../functions/apps/commit.ts";
import { transition } from "../../functions/apps/lifecycle.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";

let world: UpstashStack;

beforeAll(async () => {
  world = await onUpstash();
  const { store } = world;
  const config = appConfig.parse({ hosts: ["large.test"], contract: "none" });
  const app = ["v1", "v2", "v3"].reduce(released, newAppDocument("large", config, Date.now()));
  const author = { actor: "operator", action: "app.create" };
  await commitDocument(store, { ...app, version: 1 }, 0, { author, details: {}, isDefault: false });
});
afterAll(() => world.stop());

/** With 130 KB of variables, which only a runner takes. */
function released(app: AppDocument, id: string): AppDocument {
  const env = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`V${index}`, "x".repeat(13_000)]));
  const source = { sha256: "a".repeat(64) };
  const target = { kind: "runner", runnerId: "r1", source, start: "node .", env } as const;
  const url = "http://127.0.0.1:9";
  const commands: AppCommand[] = [
    { type: "create", id, name: "prod", target, promote: false },
    { type: "provisioned", id, url, resources: {} },
    { type: "verified", id, contract: "pulse" },
    { type: "promote", id },
  ];
  return commands.reduce((document, command) => {
    const result = transition(document, command, Date.now());
    return result.ok ? result.app : expect.unreachable(result.refusal.message);
  }, app);
}

const keyOf = (number: number) => ({ "idempotency-key": `rollback-${number}` });

test("thirty keyed rollbacks of a large app keep next to nothing, and each still happens once", async () => {
  const answers: unknown[] = [];
  for (let number = 0; number < 30; number++) {
    const { status, body } = await world.stack.api("POST", "/apps/large/rollback", {}, keyOf(number));
    expect(status).toBe(200);
    answers.push(body["active"]);
  }
  expect(answers).toEqual(answers.map((_, index) => (index % 2 === 0 ? "v2" : "v3")));
  const records = await Promise.all(
    answers.map((_, number) => world.store.readIdempotencyRecord(keyOf(number)["idempotency-key"])),
  );
  const bytes = records.reduce((sum, record) => sum + (record?.result.length ?? Infinity), 0);
  expect(bytes).toBeLessThan(30 * 200);
  const before = await world.document("large");
  const repeated = await world.stack.api("POST", "/apps/large/rollback", {}, keyOf(29));
  expect([repeated.status, repeated.body["active"]]).toEqual([200, "v3"]);
  // Of a large app a repetition shows what it is now.
  const early = await world.stack.api("POST", "/apps/large/rollback", {}, keyOf(0));
  expect([early.status, early.body["active"]]).toEqual([200, "v3"]);
  expect(await world.document("large")).toEqual(before);
});

test("a small app's repeated change answers what its first answered", async () => {
  await world.stack.api("PUT", "/apps/small", {});
  const headers = { "idempotency-key": "pause-small" };
  const first = await world.stack.api("POST", "/apps/small/pause", { mode: "refuse" }, headers);
  await world.stack.api("POST", "/apps/small/resume");
  const again = await world.stack.api("POST", "/apps/small/pause", { mode: "refuse" }, headers);
  expect([again.status, again.body]).toEqual([200, first.body]);
  expect((await world.document("small"))?.paused).toBeNull();
});
