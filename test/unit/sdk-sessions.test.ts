import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { Sessions, type Signalbox, type SignalboxOptions } from "../../sdk/index.ts";
import { attachSignalbox } from "../../sdk/node.ts";

describe("the registry", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("counts open sessions and forgets a closed one at once", () => {
    const sessions = new Sessions();
    const [first] = [sessions.open(), sessions.open()];
    expect(sessions.count).toBe(2);
    first.close();
    first.close();
    first.lose();
    expect(sessions.count).toBe(1);
  });

  test("counts a lost session for 20 seconds", () => {
    const sessions = new Sessions();
    sessions.open().lose();
    vi.advanceTimersByTime(19_999);
    expect(sessions.count).toBe(1);
    vi.advanceTimersByTime(1);
    expect(sessions.count).toBe(0);
  });

  test("goes on with a lost session that comes back, without counting it twice", () => {
    const sessions = new Sessions();
    sessions.open({ id: "page" }).lose();
    const back = sessions.open({ id: "page" });
    vi.advanceTimersByTime(60_000);
    expect(sessions.count).toBe(1);
    back.close();
    expect(sessions.count).toBe(0);
  });

  test("keeps a session whose page reconnected before the old socket was known to be dead", () => {
    const sessions = new Sessions();
    const old = sessions.open({ id: "page" });
    sessions.open({ id: "page" });
    old.close();
    expect(sessions.count).toBe(1);
  });

  test("tells every socket once, counts those it told, and survives one that breaks", () => {
    const sessions = new Sessions();
    const told = vi.fn();
    sessions.open({ onReload: told });
    sessions.open({ onReload: told });
    sessions.open();
    sessions.open({
      onReload: () => {
        throw new Error("broken pipe");
      },
    });
    expect(sessions.reloadAll()).toBe(2);
    expect(told).toHaveBeenCalledTimes(2);
  });

  test("tells a page that was away when all others were told, and no page that came later", () => {
    const sessions = new Sessions();
    sessions.open({ id: "away" }).lose();
    expect(sessions.reloadAll()).toBe(0);
    const told = vi.fn();
    sessions.open({ id: "new", onReload: told });
    expect(told).not.toHaveBeenCalled();
    sessions.open({ id: "away", onReload: told });
    sessions.open({ id: "away", onReload: told });
    expect(told).toHaveBeenCalledTimes(1);
  });
});

describe("control sockets", () => {
  let server: Server;
  let signalbox: Signalbox;

  async function start(options: SignalboxOptions = {}): Promise<void> {
    server = createServer();
    signalbox = attachSignalbox(server, { deploymentId: "v1", env: {}, ...options });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const started = server;
    onTestFinished(async () => {
      const closed = new Promise((done) => started.close(done));
      started.closeAllConnections();
      await closed;
    });
  }

  const port = () => (server.address() as AddressInfo).port;

  async function open(
    query = "pulse_deployment=v1",
  ): Promise<{ socket: WebSocket; next: () => Promise<unknown> }> {
    const socket = new WebSocket(`ws://127.0.0.1:${port()}/_pulse/session?${query}`);
    const messages: unknown[] = [];
    socket.on("message", (data) => messages.push(JSON.parse(Buffer.isBuffer(data) ? data.toString() : "")));
    await once(socket, "open");
    return { socket, next: () => vi.waitUntil(() => messages.shift(), 60_000) };
  }

  const counts = (expected: number) => expect.poll(() => signalbox.sessions.count).toBe(expected);

  test("are welcomed and counted", async () => {
    await start();
    const { next } = await open();
    expect(await next()).toEqual({ type: "welcome", deployment_id: "v1", ping_interval_ms: 15_000 });
    expect(signalbox.sessions.count).toBe(1);
  });

  test.each([
    ["1000", (socket: WebSocket) => socket.close(1000)],
    ["no status", (socket: WebSocket) => socket.close()],
    ["a bye and no closing handshake", (socket: WebSocket) => socket.send("bye", () => socket.terminate())],
  ])("stop counting at once when closed with %s", async (_name, close) => {
    await start({ lingerMs: 3_600_000 });
    const { socket } = await open();
    close(socket);
    await counts(0);
  });

  test("that break go on counting for the linger time", async () => {
    await start({ lingerMs: 300 });
    const { socket } = await open();
    const brokenAt = performance.now();
    socket.terminate();
    await counts(0);
    // Timers may fire a millisecond early.
    expect(performance.now() - brokenAt).toBeGreaterThanOrEqual(299);
  });

  test("of one page are one session", async () => {
    await start({ lingerMs: 3_600_000 });
    const { socket } = await open("pulse_deployment=v1&page=0123456789abcdef");
    socket.terminate();
    const again = await open("pulse_deployment=v1&page=0123456789abcdef");
    expect(signalbox.sessions.count).toBe(1);
    again.socket.close();
    await counts(0);
  });

  test("with a malformed page id get one of their own", async () => {
    await start();
    await Promise.all([
      open("page="),
      open("page="),
      open(`page=${"x".repeat(65)}`),
      open("page=a%00bcdefgh"),
    ]);
    expect(signalbox.sessions.count).toBe(4);
  });

  test("of another deployment's page are told to reload, closed, and never counted", async () => {
    await start();
    const { socket, next } = await open("pulse_deployment=v0&pulse_reload_on_stale_affinity=1");
    expect(await next()).toEqual({ type: "reload", reason: "stale-affinity" });
    const [code] = await once(socket, "close");
    expect(code).toBe(4409);
    expect(signalbox.sessions.count).toBe(0);
  });

  test("are told to reload", async () => {
    await start();
    const pages = await Promise.all([open(), open()]);
    expect(signalbox.sessions.reloadAll()).toBe(2);
    for (const { next } of pages) {
      await next();
      expect(await next()).toEqual({ type: "reload", reason: "notice" });
    }
  });

  test("are pinged, and stay while they answer", async () => {
    await start({ pingIntervalMs: 200, lingerMs: 0 });
    const { socket, next } = await open();
    let pings = 0;
    socket.on("ping", () => (pings += 1));
    await vi.waitUntil(() => pings > 5, 60_000);
    await next();
    expect(await next()).toEqual({ type: "ping" });
    expect(signalbox.sessions.count).toBe(1);
  });

  test("of a dead peer are dropped", async () => {
    await start({ pingIntervalMs: 20, lingerMs: 0 });
    const peer = connect(port(), "127.0.0.1");
    onTestFinished(() => void peer.destroy());
    peer.write(
      "GET /_pulse/session HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
        "sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n",
    );
    const received: string[] = [];
    peer.setEncoding("latin1").on("data", (chunk) => received.push(String(chunk)));
    await once(peer, "close");
    expect(received.join("")).toMatch(/^HTTP\/1\.1 101 [^]*"welcome"/);
    await counts(0);
  });

  test("that send hostile bytes hurt nobody but themselves", async () => {
    await start({ lingerMs: 0 });
    const { socket: calm } = await open();
    const { socket: loud } = await open();
    loud.on("error", () => {});
    loud.send("x".repeat(100_000));
    const [code] = await once(loud, "close");
    expect(code).toBe(1009);
    const { socket: broken } = await open();
    Reflect.get(broken, "_socket").write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
    await once(broken, "close");
    await counts(1);
    expect(calm.readyState).toBe(WebSocket.OPEN);
  });

  test("end with the server, which doesn't wait for them", async () => {
    await start();
    const { socket } = await open();
    const closed = once(server, "close");
    server.close();
    const [code] = await once(socket, "close");
    await closed;
    expect(code).toBe(1012);
    expect(signalbox.sessions.count).toBe(0);
  });
});
