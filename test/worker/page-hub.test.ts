import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { LOST_PAGE_MS, PAGES_PER_HUB, type PageHub } from "../../functions/pages/hub.ts";
import { countPages, endPages, noteDocument, openPage, reloadPages } from "../../functions/pages/hubs.ts";

declare global {
  namespace Cloudflare {
    interface Env {
      PAGE_HUB: DurableObjectNamespace<PageHub>;
    }
  }
}

const of = (app: string) => ({ app, deployment: { id: "v1", createdAt: 1 } });
const firstHub = (app: string) => env.PAGE_HUB.getByName(`${app}/v1/1`);
const pageId = (index: number): string => (index * 0x9e3779b1).toString(16).padStart(32, "0").slice(-32);

async function open(app: string, page: string): Promise<WebSocket> {
  const { webSocket } = await openPage(env, of(app), { page, reload: false });
  if (!webSocket) throw new Error("The hub took no page.");
  webSocket.accept();
  return webSocket;
}

/** Names of what the hub keeps. */
function kept(app: string): Promise<unknown[]> {
  return runInDurableObject(firstHub(app), (_, ctx) =>
    ctx.storage.sql
      .exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'")
      .toArray()
      .map(({ name }) => name),
  );
}

/** Lets time pass for pages that are lost. */
function age(app: string, ms: number): Promise<void> {
  return runInDurableObject(firstHub(app), (_, ctx) => {
    ctx.storage.sql.exec("UPDATE pages SET lost_at = lost_at - ?", ms);
  });
}

test("pages stay counted while their hub sleeps", async () => {
  const sockets = [await open("sleeps", pageId(1)), await open("sleeps", pageId(2))];
  await evictDurableObject(firstHub("sleeps"), { webSockets: "hibernate" });
  expect(await countPages(env, of("sleeps"))).toMatchObject({ pages: 2 });
  expect(await reloadPages(env, of("sleeps"))).toBe(2);
  sockets.forEach((socket) => socket.close(1000));
});

test("pages whose hub was moved count until they are back, or their time is over", async () => {
  await open("moved", pageId(1));
  await open("moved", pageId(2));
  await evictDurableObject(firstHub("moved"), { webSockets: "close" });
  expect(await countPages(env, of("moved"))).toMatchObject({ pages: 2 });
  await open("moved", pageId(1));
  await age("moved", LOST_PAGE_MS + 1);
  expect(await countPages(env, of("moved"))).toMatchObject({ pages: 1 });
});

test("a hub that is only asked keeps nothing, nor does one that has ended", async () => {
  expect(await countPages(env, of("asked"))).toEqual({ pages: 0, uncountedAt: 0, servedAt: 0 });
  expect(await kept("asked")).toEqual([]);
  const socket = await open("ended", pageId(1));
  await noteDocument(env, of("ended"), "uncounted");
  expect((await countPages(env, of("ended"))).uncountedAt).toBeGreaterThan(0);
  const closed = new Promise<number>((resolve) => {
    socket.addEventListener("close", ({ code }) => {
      resolve(code);
      socket.close();
    });
  });
  await endPages(env, of("ended"));
  expect(await closed).toBe(1012);
  expect(await countPages(env, of("ended"))).toEqual({ pages: 0, uncountedAt: 0, servedAt: 0 });
  expect(await kept("ended")).toEqual([]);
});

test("a full hub sends further pages to others, and all of them count and hear", async () => {
  const sockets: WebSocket[] = [];
  for (let index = 0; index < PAGES_PER_HUB; index += 100) {
    const batch = Array.from({ length: 100 }, (_, offset) => open("full", pageId(index + offset)));
    sockets.push(...(await Promise.all(batch)));
  }
  const more = 50;
  for (let index = 0; index < more; index++) sockets.push(await open("full", pageId(PAGES_PER_HUB + index)));
  const startedAt = performance.now();
  expect(await countPages(env, of("full"))).toMatchObject({ pages: PAGES_PER_HUB + more });
  const countedAt = performance.now();
  expect(await reloadPages(env, of("full"))).toBe(PAGES_PER_HUB + more);
  console.log(
    `${PAGES_PER_HUB + more} pages: counted in ${Math.round(countedAt - startedAt)} ms, told in ${Math.round(performance.now() - countedAt)} ms`,
  );
  expect((await firstHub("full").count()).pages).toBe(PAGES_PER_HUB);
  sockets.forEach((socket) => socket.close(1000));
});
