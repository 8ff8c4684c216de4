import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildEvent } from "../../functions/protocol/builds.ts";
import { projectRoot } from "../../scripts/build/worker.ts";
import { BuildsOf, saidBy } from "../helpers/builds.ts";
import { readEvents } from "../helpers/event-stream.ts";
import {
  bundleProgram,
  runtimeCommand,
  startRunner,
  type BundledProgram,
  type RunnerProcess,
} from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";
/** Calls of tools in one build, with ten deltas of text before each: 55,000 updates, which are 10,000 events. */
const CALLS = soak ? 5_000 : 1_000;
const SOCKET_CUTS = soak ? 50 : 5;
const RUNNER_KILLS = soak ? 5 : 1;
const WORKER_KILLS = soak ? 5 : 1;
/** So that the stream lasts about as long as the cuts do. */
const PAUSE_MS = soak ? 300 : 100;
/** Where the agent waits for the last cut: two events for each call. */
const WAITS_AT_SEQ = 2 * (CALLS - 100);

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

let stack: TestStack;
let runner: RunnerProcess;
let way: CuttableWay;
let builds: BuildsOf;
let hasty: BundledProgram;

beforeAll(async () => {
  stack = await startTestStack();
  way = await CuttableWay.to(stack.port);
  // To the runner as shipped, many cuts in a row are an outage: it waits up to half a minute after each.
  hasty = await bundleProgram("shipped");
  runner = await startRunner(stack, {
    id: "cut",
    port: way.port,
    command: runtimeCommand("node", hasty.bundle),
    env: { RUNNER_AGENT: AGENT, TEST_TIMINGS: JSON.stringify({ reconnectLimitMs: 1_000 }) },
  });
  builds = new BuildsOf(stack);
});
afterAll(async () => {
  await runner?.remove();
  await way?.close();
  await hasty?.remove();
  await stack?.stop();
});

test(
  "a build's events are complete, in order and without doubles, whatever is cut and killed, and a client that comes back sees the same",
  { timeout: 600_000 },
  async () => {
    // What a kill of the runner interrupts isn't run again: so each kill has a build of its own, and one sees only cuts.
    const ids: string[] = [];
    const watched: Promise<BuildEvent[]>[] = [];
    let enough = "";
    for (let number = 0; number <= RUNNER_KILLS; number++) {
      const slug = await builds.newProject();
      enough = join(runner.workspace, slug, "enough");
      const id = await builds.begin(slug, `mixed ${CALLS} ${PAUSE_MS}`);
      ids.push(id);
      watched.push(watch(id));
      await until(
        () => lastSeq(id),
        (seq) => seq > 5,
      );
      if (number === RUNNER_KILLS) break;
      await runner.kill();
      await runner.start();
    }
    const last = ids.at(-1) ?? "";
    for (let cut = 0; cut < SOCKET_CUTS; cut++) {
      const before = await lastSeq(last);
      way.cut();
      if (cut % Math.ceil(SOCKET_CUTS / WORKER_KILLS) === 0) {
        await stack.kill();
        await stack.restart();
      }
      // The next cut falls into the stream again, which ends after the last one.
      if (cut < SOCKET_CUTS - 1)
        await until(
          () => lastSeq(last),
          (seq) => seq > before || seq >= WAITS_AT_SEQ,
        );
    }
    await writeFile(enough, "");
    for (const [index, id] of ids.entries()) {
      const seen = await watched[index];
      const stored = await builds.events(id);
      expect(stored.map(({ seq }) => seq)).toEqual(stored.map((_, at) => at + 1));
      expect(seen).toEqual(stored);
      const calls = stored.flatMap((event) => (event.type === "tool" ? Number(event.id) : []));
      expect(calls).toEqual(calls.map((_, at) => at + 1));
      expect(stored.at(-1)).toMatchObject({ state: id === last ? "completed" : "interrupted" });
    }
    const whole = await builds.events(last);
    const tools = whole.filter(({ type }) => type === "tool");
    expect(tools).toHaveLength(CALLS);
    // Ten deltas to each tool call: none is lost, and they are joined.
    expect(saidBy(whole)).toBe(`Before my answer. ${"0123456789".repeat(CALLS)}`);
    expect(whole.filter(({ type }) => type === "message").length).toBeLessThan(CALLS * 1.1 + 20);
  },
);

async function lastSeq(id: string): Promise<number> {
  const { status, body } = await stack
    .api("GET", `/builds/${id}`)
    .catch(() => ({ status: 0, body: {} as Record<string, unknown> }));
  return status === 200 ? Number(body["seq"]) : 0;
}

/** A client that comes back by Last-Event-ID until the build is over. */
async function watch(id: string): Promise<BuildEvent[]> {
  const events: BuildEvent[] = [];
  for (;;) {
    try {
      const response = await fetch(`${stack.origin}/_signalbox/api/v1/builds/${id}/events`, {
        headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "last-event-id": String(events.length) },
      });
      if (response.status === 204) return events;
      if (response.status === 200) {
        for await (const { event, data } of readEvents(response)) {
          if (event === "end") return events;
          if (event === "build") events.push(JSON.parse(data) as BuildEvent);
        }
      }
    } catch {
      // The Worker is away: that is what is tested.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The way from the runner to the Worker, which can be cut in the middle of anything. */
class CuttableWay {
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
  }

  static async to(port: number): Promise<CuttableWay> {
    const sockets = new Set<Socket>();
    const server = createServer((near) => {
      const far = connect(port, "127.0.0.1");
      for (const socket of [near, far]) {
        sockets.add(socket);
        socket.on("error", () => undefined); // it was cut
        socket.once("close", () => {
          sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      near.pipe(far).pipe(near);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new CuttableWay(server, sockets);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
