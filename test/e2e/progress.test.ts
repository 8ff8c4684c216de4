import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { onEmbedded, type OpenStack } from "../helpers/both-stores.ts";
import { seededRandom } from "../helpers/random.ts";
import { CONTROL_TOKEN, until } from "../helpers/stack.ts";

let world: OpenStack;
const backends: Backend[] = [];

beforeAll(async () => {
  world = await onEmbedded({ ROUTE_TTL_MS: "100" });
});

afterAll(async () => {
  await Promise.all(backends.map((backend) => backend.close()));
  await world.stop();
});

const ROLLOUT = [
  "state pending",
  "step provision started",
  "step provision done",
  "step verify started",
  "step verify done",
  "state ready",
  "step promote done",
  "state active",
  "end",
];

test.concurrent(
  "a rollout's events come in order, once, with rising ids, and end after the final state",
  async () => {
    await deploy("ordered");
    const stream = await openEvents("ordered");
    const events = await stream.rest();
    expect(events.map(({ text }) => text)).toEqual(ROLLOUT);
    const ids = events.flatMap(({ id }) => (id === null ? [] : [id]));
    expect(ids).toEqual([...new Set(ids)].sort((one, other) => one - other));
    expect(events.every(({ data }) => data["deployment"] === "v1" || data["deployment"] === undefined)).toBe(
      true,
    );
  },
);

test.concurrent(
  "events are live: the first come while the backend still keeps the rollout waiting",
  async () => {
    const backend = await deploy("live", { healthy: false });
    const stream = await openEvents("live");
    const first = [await stream.next(), await stream.next()];
    expect(first.map((event) => event?.text)).toEqual(["state pending", "step provision started"]);
    await until(
      async () => (await stream.next())?.text,
      (text) => text === "step verify waiting",
    );
    expect((await world.document("live"))?.deployments["v1"]?.state).toBe("pending");
    backend.handler = () => false;
    expect((await stream.rest()).map(({ text }) => text)).toEqual(ROLLOUT.slice(4));
  },
);

test.concurrent("a backend that hangs doesn't keep the first event back", async () => {
  const backend = await startBackend("v1");
  backends.push(backend);
  let givenUp = 0;
  backend.handler = (_, response) => {
    response.once("close", () => (givenUp += 1));
    return true;
  };
  await deploy("hanging", { backend });
  await until(
    () => backend.seen.length,
    (requests) => requests > 0,
  );
  const stream = await openEvents("hanging");
  expect((await stream.next())?.text).toBe("state pending");
  // One call takes five seconds to be given up.
  expect(givenUp).toBe(0);
  await stream.drop();
});

test.concurrent(
  "a dropped stream goes on after its Last-Event-ID, and one that was read to its end answers 204",
  async () => {
    await deploy("dropped");
    await world.stack.control.until("dropped", "v1", ["active"], 60_000);
    const whole = (await (await openEvents("dropped")).rest()).slice(0, -1);
    for (const [index, { id }] of whole.entries()) {
      const resumed = await openEvents("dropped", id);
      const expected =
        index === whole.length - 1 ? [] : [...whole.slice(index + 1).map(({ text }) => text), "end"];
      expect((await resumed.rest()).map(({ text }) => text)).toEqual(expected);
      expect(resumed.status).toBe(index === whole.length - 1 ? 204 : 200);
    }
  },
);

test.concurrent("a failing rollout says what it waits for, why it failed, and ends", async () => {
  const backend = await startBackend("someone-else");
  backends.push(backend);
  await deploy("failing", { backend, config: { verifyTimeoutSeconds: 1 } });
  const askedAt = Date.now();
  const events = await (await openEvents("failing")).rest();
  // Three tries, two seconds apart at most, and no waiting for anything after the last.
  expect(Date.now() - askedAt).toBeLessThan(8_000);
  expect(events.map(({ text }) => text)).toEqual([
    "state pending",
    "step provision started",
    "step provision done",
    "step verify started",
    "step verify waiting",
    "step verify failed",
    "state failed",
    "end",
  ]);
  expect(events[4]?.data["detail"]).toContain('deployment "someone-else"');
  expect(events[6]?.data["reason"]).toContain("PULSE_DEPLOYMENT_ID=v1");
});

test.concurrent(
  "a superseded deployment's stream ends, and a deletion can be followed to its end",
  async () => {
    await deploy("followed");
    await world.stack.control.until("followed", "v1", ["active"], 60_000);
    const v2 = await startBackend("v2");
    backends.push(v2);
    const body = { id: "v2", target: { kind: "url", url: v2.url } };
    await world.stack.api("POST", "/apps/followed/deployments", body);
    await world.stack.control.until("followed", "v2", ["active"], 60_000);
    const events = await (await openEvents("followed")).rest();
    expect(events.slice(-2).map(({ text }) => text)).toEqual(["state draining", "end"]);
    expect((await world.stack.api("DELETE", "/apps/followed/deployments/v1")).status).toBe(202);
    const removal = await (await openEvents("followed", events.at(-2)?.id ?? null)).rest();
    expect(removal.map(({ text }) => text)).toEqual([
      "step reload done",
      "step unroute done",
      "step remove done",
      "state removed",
      "end",
    ]);
  },
);

test.concurrent("an id that comes back in a new app of the same name has no past", async () => {
  await deploy("again");
  await world.stack.control.until("again", "v1", ["active"], 60_000);
  const first = await (await openEvents("again")).rest();
  await world.stack.api("DELETE", "/apps/again");
  await until(
    () => world.stack.api("GET", "/apps/again"),
    ({ status }) => status === 404,
  );
  await deploy("again");
  const second = await (await openEvents("again")).rest();
  expect(second.map(({ text }) => text)).toEqual(ROLLOUT);
  expect(second[0]?.id).toBeGreaterThan(first.at(-2)?.id ?? 0);
});

test("through kills and restarts a client that resumes sees each event once and every state in order", async () => {
  const { random } = seededRandom();
  for (let round = 0; round < 4; round++) {
    const app = `killed-${round}`;
    const backend = await deploy(app, { healthy: false });
    const seen: Event[] = [];
    const kills = [random() * 200, random() * 2_500, random() * 200];
    let ended = false;
    const client = (async () => {
      while (!ended) {
        const last = seen.findLast(({ id }) => id !== null)?.id ?? null;
        const stream = await openEvents(app, last).catch(() => null);
        if (stream?.status === 204) return;
        for (let event = await stream?.next(); event; event = await stream?.next()) {
          if (event.text === "end") ended = true;
          else seen.push(event);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    for (const [index, ms] of kills.entries()) {
      await new Promise((resolve) => setTimeout(resolve, ms));
      if (index === kills.length - 1) backend.handler = () => false;
      await world.stack.kill();
      await world.stack.restart();
    }
    await client;
    const ids = seen.map(({ id }) => id ?? 0);
    expect(ids, app).toEqual([...new Set(ids)].sort((one, other) => one - other));
    expect(
      seen.filter(({ text }) => text.startsWith("state")).map(({ text }) => text),
      app,
    ).toEqual(["state pending", "state ready", "state active"]);
    expect((await world.document(app))?.active).toBe("v1");
  }
});

async function deploy(
  app: string,
  options: { healthy?: boolean; backend?: Backend; config?: Record<string, unknown> } = {},
): Promise<Backend> {
  const backend = options.backend ?? (await startBackend("v1"));
  backends.push(backend);
  if (options.healthy === false) {
    backend.handler = (request, response) => {
      if (request.url !== "/_pulse/health") return false;
      response.writeHead(503).end();
      return true;
    };
  }
  await world.stack.api("PUT", `/apps/${app}`, {
    hosts: [`${app}.test`],
    reloadGraceSeconds: 0,
    ...options.config,
  });
  const body = { id: "v1", target: { kind: "url", url: backend.url } };
  expect((await world.stack.api("POST", `/apps/${app}/deployments`, body)).status).toBe(202);
  return backend;
}

interface Event {
  id: number | null;
  /** What a person would call it: `state ready`, `step verify done`, `end`. */
  text: string;
  data: Record<string, unknown>;
}

interface EventStream {
  status: number;
  /** Null at the end, or when the connection was cut. */
  next(): Promise<Event | null>;
  rest(): Promise<Event[]>;
  drop(): Promise<void>;
}

async function openEvents(app: string, lastEventId: number | null = null): Promise<EventStream> {
  const response = await fetch(`${world.stack.origin}/_signalbox/api/v1/apps/${app}/deployments/v1/events`, {
    headers: {
      authorization: `Bearer ${CONTROL_TOKEN}`,
      ...(lastEventId === null ? {} : { "last-event-id": String(lastEventId) }),
    },
  });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const next = async (): Promise<Event | null> => {
    for (;;) {
      const end = text.indexOf("\n\n");
      if (end >= 0) {
        const event = parseEvent(text.slice(0, end));
        text = text.slice(end + 2);
        if (event) return event;
        continue;
      }
      const chunk = await reader?.read().catch(() => null);
      if (!chunk || chunk.done) return null;
      text += chunk.value;
    }
  };
  return {
    status: response.status,
    next,
    async rest() {
      const events: Event[] = [];
      for (let event = await next(); event; event = await next()) events.push(event);
      return events;
    },
    drop: async () => reader?.cancel(),
  };
}

function parseEvent(block: string): Event | null {
  const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
  const type = field("event");
  if (type === undefined) return null; // a comment or `retry`
  const data: Record<string, unknown> = JSON.parse(field("data") ?? "{}");
  const id = field("id");
  const said = type === "step" ? [data["step"], data["status"]] : type === "state" ? [data["state"]] : [];
  return { id: id === undefined ? null : Number(id), text: [type, ...said].join(" "), data };
}
