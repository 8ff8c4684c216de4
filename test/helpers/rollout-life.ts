import { expect } from "vitest";
import type { AppDocument } from "../../functions/apps/app-document.ts";
import { violations } from "../../functions/apps/invariants.ts";
import { startBackend, type Backend } from "./backend.ts";
import type { OpenStack } from "./both-stores.ts";
import { until } from "./stack.ts";

/** What a test may do to the stack in the middle of a life, and what it has to bring about afterwards. */
export interface Disturbance {
  /** Called as each part begins. */
  onPart(part: Part): void;
  /** Called with both backends before anything happens. */
  onBackends(backends: Backend[]): void;
  /** Whether the stack has been killed; from then on the cron is fired, as it would be each minute. */
  readonly killed: boolean;
}

export type Part = "app" | "v1" | "v2" | "janitor" | "removal";

/**
 * A complete rollout: v1 becomes active, v2 replaces it, the janitor retires v1 and v1 is removed. Whatever
 * happens to the stack meanwhile, this fails unless it all comes to pass, with the invariants holding at every look,
 * every POST done exactly once, and each answered request that is pinned to v1 answered by v1 while it lives.
 */
export async function liveThrough(world: OpenStack, app: string, disturbance: Disturbance): Promise<void> {
  const { stack } = world;
  const backends = await Promise.all([startBackend("v1"), startBackend("v2")]);
  disturbance.onBackends(backends);
  const [v1, v2] = backends;
  const host = `${app}.test`;
  const over = new AbortController();
  const look = async (): Promise<AppDocument | null> => {
    const document = await world.document(app);
    if (document) expect(violations(document), app).toEqual([]);
    return document;
  };
  const visitor = visit(world, host, look, over.signal);
  const cron = fireCron(world, disturbance, over.signal);
  const background = Promise.all([visitor, cron]);
  background.catch(() => over.abort());
  const reached = (wanted: (document: AppDocument) => boolean): Promise<unknown> =>
    until(
      () => {
        over.signal.throwIfAborted();
        return look();
      },
      (document) => document !== null && wanted(document),
    );
  try {
    disturbance.onPart("app");
    const config = { hosts: [host], previousRetentionSeconds: 0, reloadGraceSeconds: 0 };
    await surely(world, "PUT", `/apps/${app}`, config, `${app}-put`, 201);
    for (const backend of [v1, v2]) {
      if (!backend) continue;
      disturbance.onPart(backend === v1 ? "v1" : "v2");
      const body = { id: backend.id, target: { kind: "url", url: backend.url } };
      await surely(world, "POST", `/apps/${app}/deployments`, body, `${app}-${backend.id}`, 202);
      await reached(({ active }) => active === backend.id);
    }
    disturbance.onPart("janitor");
    const retired = (document: AppDocument): boolean => Boolean(document.deployments["v1"]?.retirement);
    await until(
      async () => {
        const document = await look();
        if (document && retired(document)) return true;
        const answer = await stack.api("POST", "/janitor/run", {}).catch(() => null);
        return answer?.body["outcome"] === "completed" && retired((await look()) ?? raise(app));
      },
      (done) => done,
    );
    disturbance.onPart("removal");
    await reached(({ deployments }) => deployments["v1"]?.state === "removed");

    const document = (await look()) ?? raise(app);
    expect(document.active).toBe("v2");
    expect(Object.keys(document.deployments).sort()).toEqual(["v1", "v2"]);
    expect(v1?.reloads).toBeGreaterThanOrEqual(1);
    await expectUnbrokenAudit(world, app, document.version);
    await until(
      () => answered(() => stack.request(host, "/")),
      ({ text, status }) => status === 200 && text.startsWith("v2"),
    );
  } finally {
    over.abort();
    try {
      await background;
    } finally {
      await Promise.all(backends.map((backend) => backend.close()));
    }
  }
}

/** A mutation under an Idempotency-Key, repeated until it is answered: it must have happened exactly once. */
async function surely(
  world: OpenStack,
  method: string,
  path: string,
  body: unknown,
  key: string,
  status: number,
): Promise<void> {
  const answer = await answered(() => world.stack.api(method, path, body, { "idempotency-key": key }));
  expect(answer.status, JSON.stringify(answer.body)).toBe(status);
}

/** Asks until somebody answers. */
async function answered<T>(ask: () => Promise<T>): Promise<T> {
  const { answer } = await until(
    () =>
      ask().then(
        (answer) => ({ answer }),
        () => ({ answer: null }),
      ),
    (seen) => seen.answer !== null,
  );
  if (answer === null) throw new Error("nobody answered");
  return answer;
}

/** Asks for v1 all the time. No answer is no answer; a wrong one is an error. */
async function visit(
  world: OpenStack,
  host: string,
  look: () => Promise<AppDocument | null>,
  over: AbortSignal,
): Promise<void> {
  let served = false;
  while (!over.aborted) {
    const answer = await world.stack.request(host, "/?pulse_deployment=v1").catch(() => null);
    if (answer?.status === 200) {
      served = true;
      expect(answer.text).toMatch(/^v1 /);
    } else if (answer?.status === 409) {
      const unroutedAt = (await look())?.deployments["v1"]?.retirement?.unroutedAt;
      expect(unroutedAt, `${host}: stale while v1 lives`).toBeTypeOf("number");
    } else if (answer) {
      expect([served, answer.status], `${host}: ${answer.text}`).toEqual([false, 404]);
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

async function fireCron(world: OpenStack, disturbance: Disturbance, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    // It fails while the stack is down, as it would.
    if (disturbance.killed) await world.stack.workerd.runCron().catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function expectUnbrokenAudit(world: OpenStack, app: string, version: number): Promise<void> {
  const answer = await answered(() => world.stack.api("GET", `/audit?app=${app}&limit=500`));
  const entries = Array.isArray(answer.body["entries"]) ? answer.body["entries"] : [];
  const versions = entries.map((entry: { toVersion: number }) => entry.toVersion).toReversed();
  expect(versions, app).toEqual(Array.from({ length: version }, (_, index) => index + 1));
  const created = entries.filter((entry: { action: string }) => entry.action === "deployment.create");
  expect(created, app).toHaveLength(2);
}

function raise(app: string): never {
  throw new Error(`app ${app} is gone`);
}
