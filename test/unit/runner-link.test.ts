import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test, vi } from "vitest";
import { Link, type LinkEnd } from "../../runner/connection/link.ts";
import { RUNNER_SECRET, startHub } from "../helpers/hub-client.ts";

const limits = { handshakeTimeoutMs: 10_000, pingIntervalMs: 10_000, silenceLimitMs: 10_000 };

const login = {
  name: "RUNNER_SHARED_SECRET",
  headers: [["authorization", `Bearer ${RUNNER_SECRET}`]],
} as const;

function dial(
  url: string,
  more: Partial<typeof limits>,
): { link: Link; opened: Promise<void>; ended: Promise<LinkEnd> } {
  const opened = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<LinkEnd>();
  const link = new Link(
    { url: new URL(url), runnerId: "r1", login, ...limits, ...more },
    {
      opened: () => opened.resolve(),
      text: () => undefined,
      binary: () => undefined,
      delay: () => undefined,
      ended: (end) => ended.resolve(end),
    },
  );
  return { link, opened: opened.promise, ended: ended.promise };
}

test("a silent hub is given up although the clock was set back", async () => {
  const hub = await startHub({ answersPings: false });
  const link = dial(hub.url, { silenceLimitMs: 300 });
  await link.opened;
  const now = Date.now.bind(Date);
  const clock = vi.spyOn(Date, "now").mockImplementation(() => now() - 3_600_000);
  try {
    expect(await link.ended).toMatchObject({
      kind: "lost",
      reason: expect.stringContaining("nothing was heard"),
    });
  } finally {
    clock.mockRestore();
    await hub.close();
  }
});

test("an answer that trickles in isn't waited for without end", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write("HTTP/1.1 101 Switching Protocols\r\n");
    const trickle = setInterval(() => socket.write("x-more: 1\r\n"), 20);
    socket.on("close", () => clearInterval(trickle));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const link = dial(`ws://127.0.0.1:${port}`, { handshakeTimeoutMs: 300 });
  expect(await link.ended).toMatchObject({ kind: "lost", reason: expect.stringContaining("too long") });
  await new Promise((resolve) => server.close(resolve));
});
