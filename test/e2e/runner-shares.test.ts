import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { startLocalService, type LocalService } from "../helpers/local-service.ts";
import { header, rawGet, rawRequest, readAnswer, type RawAnswer } from "../helpers/raw-http.ts";
import { putRunnerApp } from "../helpers/runner-app.ts";
import { bundleWithServices, runtimeCommand, startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { until } from "../helpers/stack.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";
const REQUESTS = soak ? 3_840 : 64;
const SOCKETS = soak ? 4_096 : 64;
const VISITOR = soak ? 512 : 12;
/** What one app may have of each. */
const APP_REQUESTS = (REQUESTS * 3) / 4;
const APP_SOCKETS = (SOCKETS * 3) / 4;

let world: UpstashStack;
let runner: RunnerProcess;
let bundle: Awaited<ReturnType<typeof bundleWithServices>>;
let hungry: LocalService;
let calm: LocalService;
const open: Socket[] = [];

beforeAll(async () => {
  world = await onUpstash({
    TRUST_CLIENT_ADDRESS: "1",
    ...(soak
      ? {}
      : {
          RUNNER_REQUESTS_LIMIT: String(REQUESTS),
          RUNNER_SOCKETS_LIMIT: String(SOCKETS),
          RUNNER_VISITOR_LIMIT: String(VISITOR),
        }),
  });
  hungry = await startLocalService();
  calm = await startLocalService();
  bundle = await bundleWithServices();
  runner = await startRunner(world.stack, {
    id: "r1",
    command: runtimeCommand("node", bundle.bundle),
    services: { "hungry/v1": hungry.port, "hungry2/v1": hungry.port, "calm/v1": calm.port },
  });
  for (const app of ["hungry", "hungry2", "calm"])
    await putRunnerApp(world.store, { app, host: `${app}.test`, runnerId: "r1", service: `${app}/v1` });
});

afterAll(async () => {
  await runner.remove();
  await world.stop();
  await Promise.all([hungry.close(), calm.close(), bundle.remove()]);
});

afterEach(async () => {
  for (const socket of open.splice(0)) socket.resetAndDestroy();
  await streamsAre(0);
});

async function openStreams(): Promise<number> {
  return Number((await world.stack.api("GET", "/runners/r1")).body["openStreams"]);
}

function streamsAre(count: number): Promise<unknown> {
  return until(openStreams, (seen) => seen === count);
}

function address(n: number): string {
  return `10.0.${n >> 8}.${n & 255}`;
}

/** A POST whose body never comes. */
function unfinished(app: string, from: string): { socket: Socket; answer: Promise<RawAnswer> } {
  const socket = connect(world.stack.port, "127.0.0.1");
  socket.on("error", () => undefined);
  open.push(socket);
  socket.write(
    `POST /hash HTTP/1.1\r\nhost: ${app}.test\r\ncf-connecting-ip: ${from}\r\ncontent-length: 1000000\r\n\r\nsome`,
  );
  const answer = readAnswer(socket);
  answer.catch(() => undefined);
  return { socket, answer };
}

function get(app: string, path = "/", from = "192.0.2.1"): Promise<RawAnswer> {
  return rawRequest(world.stack.port, rawGet(`${app}.test`, path, { "cf-connecting-ip": from }));
}

function codeOf({ body }: RawAnswer): string {
  return JSON.parse(body.toString()).code;
}

describe("requests", () => {
  test("of one visitor are refused with 429 beyond its share, and nobody else's are", async () => {
    for (let n = 0; n < VISITOR; n += 1) unfinished("hungry", "198.51.100.7");
    await streamsAre(VISITOR);
    const refused = await get("hungry", "/", "198.51.100.7");
    expect([refused.status, codeOf(refused)]).toEqual([429, "visitor_share_used_up"]);
    expect(header(refused, "retry-after")).toBe("2");
    // The runner's visitor, whichever app it asks.
    expect((await get("calm", "/", "198.51.100.7")).status).toBe(429);
    expect((await get("hungry")).status).toBe(200);
  });

  test("of one IPv6 network count together", async () => {
    for (let n = 0; n < VISITOR; n += 1) unfinished("hungry", `2001:db8:1:2:${n.toString(16)}::1`);
    await streamsAre(VISITOR);
    expect((await get("hungry", "/", "2001:db8:1:2::5")).status).toBe(429);
    expect((await get("hungry", "/", "2001:db8:1:3::5")).status).toBe(200);
  });

  test("that are unfinished use up their app's share only, until the oldest idle ones make room", async () => {
    const first = unfinished("hungry", address(1));
    await streamsAre(1);
    for (let n = 1; n < APP_REQUESTS; n += 1) unfinished("hungry", address(n));
    await streamsAre(APP_REQUESTS);
    const refused = await get("hungry");
    expect([refused.status, codeOf(refused)]).toEqual([503, "app_share_used_up"]);
    expect(JSON.parse(refused.body.toString()).detail).toContain("hungry");
    expect(header(refused, "retry-after")).toBe("2");
    for (let n = 0; n < 20; n += 1) expect((await get("calm")).status).toBe(200);
    // Once they have been idle for long enough, each new one takes the place of the oldest.
    await until(
      () => get("hungry"),
      ({ status }) => status === 200,
    );
    const ended = await first.answer;
    expect([ended.status, codeOf(ended)]).toEqual([503, "app_share_used_up"]);
  });

  test("of two apps that have everything leave each other app its part, and the runner's own service all of its", async () => {
    for (let n = 0; n < APP_REQUESTS; n += 1) unfinished("hungry", address(n));
    for (let n = APP_REQUESTS; n < REQUESTS; n += 1) unfinished("hungry2", address(n));
    await streamsAre(REQUESTS);
    for (let n = 0; n < 20; n += 1) expect((await get("calm")).status).toBe(200);
    const upload = await world.stack.api("PUT", "/runners/r1/sources", "x", {
      "content-type": "application/gzip",
    });
    // The fixture takes no sources, which only it can say.
    expect(upload.body["detail"]).toContain("There is no such thing on this runner");
  });

  test("whose clients have closed are over", async () => {
    for (let n = 0; n < 10; n += 1) unfinished("hungry", address(n));
    await streamsAre(10);
    // FIN, not a reset.
    for (const socket of open.splice(0)) socket.end();
    await streamsAre(0);
  });
});

describe("WebSockets", () => {
  const sockets: WebSocket[] = [];

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.terminate();
    await streamsAre(0);
  });

  /** The socket, or the status of the refusal. */
  async function visit(app: string, from: string): Promise<WebSocket | number> {
    const socket = new WebSocket(`ws://127.0.0.1:${world.stack.port}/ws`, {
      headers: { host: `${app}.test`, "cf-connecting-ip": from },
    });
    socket.on("error", () => undefined);
    const answered = Promise.race([
      once(socket, "open").then(() => socket),
      once(socket, "unexpected-response").then(([, { statusCode }]) => Number(statusCode)),
    ]);
    const seen = await answered;
    if (typeof seen === "number") return seen;
    sockets.push(seen);
    // workerd keeps a socket that never sent anything for ten seconds after its close frames.
    seen.send("hello");
    await once(seen, "message");
    return seen;
  }

  async function fill(app: string, from: number, to: number): Promise<void> {
    for (let n = from; n < to; n += 16)
      await Promise.all(Array.from({ length: Math.min(16, to - n) }, (_, k) => visit(app, address(n + k))));
  }

  test("are counted apart from requests, by visitor and by app", async () => {
    await fill("hungry", 0, APP_SOCKETS);
    expect(await openStreams()).toBe(APP_SOCKETS);
    expect(await visit("hungry", "192.0.2.9")).toBe(503);
    for (let n = 0; n < 20; n += 1) expect((await get("hungry")).status).toBe(200);
    const mine = SOCKETS - APP_SOCKETS;
    for (let n = 0; n < Math.min(VISITOR, mine); n += 1)
      expect(await visit("calm", "192.0.2.9")).toBeInstanceOf(WebSocket);
    if (VISITOR <= mine) expect(await visit("hungry2", "192.0.2.9")).toBe(429);
  });

  test("of others leave each app its part, and the one that loses its place is told to try again", async () => {
    await fill("hungry", 0, APP_SOCKETS);
    await fill("hungry2", APP_SOCKETS, SOCKETS);
    expect(await openStreams()).toBe(SOCKETS);
    const [oldest] = sockets;
    const closed = once(oldest as WebSocket, "close") as Promise<[number, Buffer]>;
    const mine = await visit("calm", "192.0.2.9");
    expect(mine).toBeInstanceOf(WebSocket);
    expect((await closed)[0]).toBe(1013);
    const echoed = once(mine as WebSocket, "message") as Promise<[Buffer]>;
    (mine as WebSocket).send("hello");
    expect((await echoed)[0].toString()).toBe("hello");
  });
});
