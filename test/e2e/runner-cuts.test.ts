import { randomUUID } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { z } from "zod";
import { startBadProxy, faults, type BadProxy } from "../helpers/bad-proxy.ts";
import { putApp } from "../helpers/deploy.ts";
import { seededRandom } from "../helpers/random.ts";
import { startRunner, viewRunner, type RunnerProcess } from "../helpers/runner.ts";
import { deployTunnelApp } from "../helpers/runner-deployments.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";
import { liveHeapMiB } from "../helpers/worker-heap.ts";

const CUTS = process.env["SIGNALBOX_SOAK"] === "1" ? 100 : 25;
const VISITORS = 16;
/** The longest cut takes 1.2 s and the way back 3 s; what takes three times that hangs. */
const HANGS_AFTER_MS = 15_000;
const BACK_WITHIN_MS = 3_000;
/** What a busy machine delays on the way back: the connection, its first status, a visitor's request, and the look at it. */
const STEPS_BACK = 4;
/** Of what is in use after a collection; what stays behind of each request or each cut would be more. */
const SLACK_MIB = 3;
const HOST = "cut.test";
const HASTY = new URL("../helpers/runner-programs/hasty.ts", import.meta.url).pathname;

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function open(program?: string): Promise<{ stack: TestStack; runner: RunnerProcess; proxy: BadProxy }> {
  const stack = await startTestStack({ inspect: true });
  cleanUps.push(() => stack.stop());
  const proxy = await startBadProxy(stack.port);
  cleanUps.push(() => proxy.close());
  const runner = await startRunner(stack, {
    id: "r1",
    port: proxy.port,
    ...(program === undefined ? {} : { command: [process.execPath, program] }),
  });
  cleanUps.push(() => runner.remove());
  await putApp(stack, "cut", { hosts: [HOST] });
  await deployTunnelApp(stack, runner, "cut", "v1");
  return { stack, runner, proxy };
}

interface Tally {
  right: number;
  refused: Record<string, number>;
  wrong: string[];
  slowestMs: number;
}

const echoed = z.object({ id: z.literal("v1"), nonce: z.string(), bytes: z.number() });
const refused = z.object({ status: z.number(), code: z.string(), detail: z.string() });

/** Asks one thing after the other; each answer must be the one to its question, or say cleanly that there is none. */
async function visit(stack: TestStack, tally: Tally, over: AbortSignal, bodyBytes: number): Promise<void> {
  const body = Buffer.alloc(bodyBytes, "x");
  while (!over.aborted) {
    const nonce = randomUUID();
    const startedAt = Date.now();
    const asked = stack.request(HOST, `/nonce?nonce=${nonce}`, bodyBytes > 0 ? { method: "POST", body } : {});
    const answer = await within(asked, HANGS_AFTER_MS).catch((error: unknown) => String(error));
    tally.slowestMs = Math.max(tally.slowestMs, Date.now() - startedAt);
    if (typeof answer === "string") tally.wrong.push(answer);
    else if (answer.status === 200) {
      const told = echoed.safeParse(json(answer.text)).data;
      if (told?.nonce === nonce && told.bytes === bodyBytes) tally.right += 1;
      else tally.wrong.push(`200 ${answer.text.slice(0, 200)}`);
    } else {
      const problem = refused.safeParse(json(answer.text)).data;
      const clean = (answer.status === 502 || answer.status === 503) && problem?.status === answer.status;
      const name = `${answer.status} ${problem?.code}`;
      if (clean) tally.refused[name] = (tally.refused[name] ?? 0) + 1;
      else tally.wrong.push(`${answer.status} ${answer.text.slice(0, 200)}`);
      // A browser's user doesn't ask a hundred times a second either.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

test(`${CUTS} cuts under load: each request is answered rightly or cleanly refused, and the runner comes back`, async () => {
  const { seed, random } = seededRandom();
  const { stack, runner, proxy } = await open(HASTY);
  const over = new AbortController();
  const tally: Tally = { right: 0, refused: {}, wrong: [], slowestMs: 0 };
  const visitors = Array.from({ length: VISITORS }, (_, index) =>
    visit(stack, tally, over.signal, index % 4 === 0 ? 300_000 : 0),
  );
  const watch = watchSessions(stack, over.signal);

  const backMs: number[] = [];
  const slow: string[] = [];
  const memory = async (): Promise<{ runner: number; edge: number }> => ({
    runner: await runner.liveMiB(),
    edge: await liveHeapMiB(stack.workerd.inspectorPort),
  });
  let base = { runner: 0, edge: 0 };
  try {
    await until(
      () => tally.right,
      (right) => right > 1_000,
    );
    base = await memory();
    for (let cut = 0; cut < CUTS; cut++) {
      const fault = faults[Math.floor(random() * faults.length)] ?? "drop";
      const lengthMs = Math.round(fault === "drop" ? random() * 400 : 200 + random() * 1_000);
      await proxy.inflict(fault, lengthMs);
      const endedAt = Date.now();
      watch.slowestMs = 0;
      const right = tally.right;
      await until(
        async () => (await viewRunner(stack, "r1")).connected && tally.right > right,
        (back) => back,
        HANGS_AFTER_MS,
      );
      const took = Date.now() - endedAt;
      backMs.push(took);
      if (took > BACK_WITHIN_MS + watch.slowestMs * STEPS_BACK)
        slow.push(`${fault} of ${lengthMs} ms: back after ${took} ms`);
      await new Promise((resolve) => setTimeout(resolve, 250 + random() * 500));
    }
  } finally {
    over.abort();
    await Promise.all(visitors);
  }
  await watch.done;
  const { looks, most } = watch;
  const isBack = ({ runner, edge }: typeof base): boolean =>
    runner < base.runner + SLACK_MIB && edge < base.edge + SLACK_MIB;
  const rest = await until(memory, isBack).catch(memory);
  backMs.sort((one, other) => one - other);
  const mib = ({ runner, edge }: typeof base): string =>
    `in use: runner ${runner.toFixed(1)} MiB, Worker ${edge.toFixed(1)} MiB`;
  console.log(
    `seed ${seed}: ${CUTS} cuts, ${tally.right} right answers, refused ${JSON.stringify(tally.refused)}, ` +
      `slowest ${tally.slowestMs} ms; back after median ${backMs[Math.floor(CUTS / 2)]} ms, worst ${backMs.at(-1)} ms; ` +
      `${looks} looks at the sessions; before ${mib(base)}, after ${mib(rest)}`,
  );
  expect(tally.wrong).toEqual([]);
  expect(slow).toEqual([]);
  expect(most).toBe(1);
  expect(rest).toSatisfy(isBack);
  expect((await stack.api("GET", "/runners/r1")).body["openStreams"]).toBe(0);
});

test("the runner as it is shipped is back within 3 s of a cut", async () => {
  const { stack, proxy } = await open();
  const { epoch } = await viewRunner(stack, "r1");
  const over = new AbortController();
  const watch = watchSessions(stack, over.signal);
  await proxy.inflict("drop", 0);
  const cutAt = Date.now();
  await until(
    () => viewRunner(stack, "r1"),
    (seen) => seen.connected && seen.epoch > epoch,
  );
  const took = Date.now() - cutAt;
  over.abort();
  await watch.done;
  expect(took).toBeLessThan(BACK_WITHIN_MS + watch.slowestMs * STEPS_BACK);
  expect((await stack.request(HOST, "/x")).text).toBe("v1 /x");
});

const listed = z.object({ runners: z.array(z.object({ id: z.string(), connected: z.boolean() })) });
const details = z.object({ connections: z.array(z.object({ state: z.string() })) });

interface SessionWatch {
  looks: number;
  /** The most sessions that were seen live at once, in the list and in the runner's own connections. */
  most: number;
  /** The slowest answer of the edge itself, which has nothing to do with runners: how busy the machine is. */
  slowestMs: number;
  done: Promise<void>;
}

function watchSessions(stack: TestStack, over: AbortSignal): SessionWatch {
  const watch: SessionWatch = { looks: 0, most: 0, slowestMs: 0, done: Promise.resolve() };
  watch.done = (async () => {
    while (!over.aborted) {
      const askedAt = Date.now();
      await stack.request(HOST, "/_signalbox/healthz");
      watch.slowestMs = Math.max(watch.slowestMs, Date.now() - askedAt);
      const { runners } = listed.parse((await stack.api("GET", "/runners")).body);
      const { connections } = details.parse((await stack.api("GET", "/runners/r1")).body);
      const live = connections.filter(({ state }) => ["connecting", "online", "draining"].includes(state));
      watch.most = Math.max(watch.most, runners.filter(({ connected }) => connected).length, live.length);
      watch.looks += 1;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  return watch;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // judged like any other answer that isn't the expected one
  }
}

async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
