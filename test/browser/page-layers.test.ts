import type { IncomingMessage, ServerResponse } from "node:http";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { change, deployUrl, putApp } from "../helpers/deploy.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let browser: Browser;
const backends: Backend[] = [];

beforeAll(async () => {
  [stack, browser] = await Promise.all([startTestStack(), launchChromium()]);
});

afterAll(async () => {
  await browser.close();
  await Promise.all([stack.stop(), ...backends.map((backend) => backend.close())]);
});

/** A plain site in one version: `lazy-ID`, `late-ID` and the like are in its build alone. */
async function site(id: string): Promise<Backend> {
  const backend = await startBackend(id);
  backends.push(backend);
  backend.sessions = 1;
  const files: Record<string, [type: string, body: string]> = {
    "/": [
      "text/html",
      `<!doctype html><title>${id}</title><link rel=icon href=data:,><p id=version>${id}</p>`,
    ],
    [`/assets/lazy-${id}.js`]: ["text/javascript", `import { data } from "./dep-${id}.js"; export { data };`],
    [`/assets/dep-${id}.js`]: ["text/javascript", `export const data = fetch("/api").then((r) => r.text());`],
    [`/assets/later-${id}.js`]: ["text/javascript", `export const data = ${JSON.stringify(id)};`],
    [`/assets/late-${id}.css`]: [
      "text/css",
      `@font-face { font-family: Late; src: url(font-${id}.woff2) }
       body { font-family: Late; background: url(back-${id}.svg) }`,
    ],
    [`/assets/font-${id}.woff2`]: ["font/woff2", "no font"],
    [`/assets/back-${id}.svg`]: ["image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"/>`],
    "/logo.svg": [
      "image/svg+xml",
      `<svg xmlns="http://www.w3.org/2000/svg" width="${id === "v1" ? 1 : 2}" height="1"/>`,
    ],
    "/worker.js": [
      "text/javascript",
      `importScripts("/part.js"); fetch("/api").then((r) => r.text()).then((api) => postMessage("${id} " + part + " " + api));`,
    ],
    "/part.js": ["text/javascript", `self.part = "${id}";`],
    "/api": ["text/plain", id],
    "/beacon": ["text/plain", ""],
    "/form": ["text/html", `<!doctype html><title>form ${id}</title><link rel=icon href=data:,>`],
  };
  backend.handler = (request: IncomingMessage, response: ServerResponse) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    if (path.startsWith("/_pulse/")) return false;
    if (path === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" }).end(`data: ${id}\n\n`);
      return true;
    }
    const file = files[path];
    response
      .writeHead(file ? 200 : 404, { "content-type": file?.[0] ?? "text/html" })
      .end(file?.[1] ?? "missing");
    return true;
  };
  return backend;
}

describe("a site without any helper, whose page was open when another version was promoted", () => {
  let v1: Backend;
  let v2: Backend;
  let address = "";
  let open: Page;

  beforeAll(async () => {
    [v1, v2] = await Promise.all([site("v1"), site("v2")]);
    await putApp(stack, "site", { hosts: ["site.localhost"], previousRetentionSeconds: 3_600 });
    address = `http://site.localhost:${stack.port}/`;
    await deployUrl(stack, "site", "v1", v1.url);
    await deployUrl(stack, "site", "v2", v2.url, false);
  });

  beforeEach(async () => {
    await change(stack, "POST", "/apps/site/rollback").catch(() => undefined);
    await serves("v1");
    const context = await browser.newContext();
    open = await context.newPage();
    await open.goto(address);
    expect(await open.textContent("#version")).toBe("v1");
    await change(stack, "POST", "/apps/site/deployments/v2/promote");
    await serves("v2");
    v1.seen.length = 0;
    v2.seen.length = 0;
    return () => context.close();
  });

  async function serves(id: string): Promise<void> {
    await until(
      () => stack.request("site.localhost", "/api"),
      ({ text }) => text === id,
    );
  }

  const asked = ({ seen }: Backend): string[] =>
    seen.filter(({ url }) => !url.startsWith("/_pulse/")).map(({ method, url }) => `${method} ${url}`);

  /** What a page sees of its version by every way that it asks. */
  function look(page: Page): Promise<unknown> {
    return page.evaluate(`(async () => {
      const text = async (answer) => (await answer).text();
      const event = (target, name) =>
        new Promise((resolve, reject) => {
          target.addEventListener(name, resolve, { once: true });
          target.addEventListener("error", () => reject(new Error("no " + name)), { once: true });
        });
      const image = new Image();
      image.src = "/logo.svg";
      await event(image, "load");
      const source = new EventSource("/events");
      const sent = await event(source, "message");
      source.close();
      const socket = new WebSocket("ws://" + location.host + "/live");
      await event(socket, "open");
      socket.send("x");
      const message = await event(socket, "message");
      socket.close();
      const worker = new Worker("/worker.js");
      const worked = await event(worker, "message");
      worker.terminate();
      return {
        get: await text(fetch("/api")),
        post: await text(fetch("/api", { method: "POST", body: "x" })),
        image: "v" + image.naturalWidth,
        events: sent.data,
        socket: message.data,
        worker: worked.data,
      };
    })()`);
  }

  const seenBy = (id: string): Record<string, string> => ({
    get: id,
    post: id,
    image: id,
    events: id,
    socket: `${id}:x`,
    worker: `${id} ${id} ${id}`,
  });

  test("keeps all that it asks for on its version", async () => {
    expect(await look(open)).toEqual(seenBy("v1"));
    const lazy = await open.evaluate(`(async () => {
      const { data } = await import("/assets/lazy-v1.js");
      const style = document.createElement("link");
      style.rel = "stylesheet";
      style.href = "/assets/late-v1.css";
      document.head.append(style);
      await new Promise((resolve) => style.addEventListener("load", resolve));
      await document.fonts.load("16px Late").catch(() => undefined);
      navigator.sendBeacon("/beacon", "bye");
      return data;
    })()`);
    expect(lazy).toBe("v1");
    await until(
      () => asked(v1),
      (all) =>
        ["GET /assets/font-v1.woff2", "GET /assets/back-v1.svg", "POST /beacon"].every((each) =>
          all.includes(each),
        ),
    );
    await open.evaluate(`{
      const form = document.createElement("form");
      form.method = "post";
      form.action = "/form";
      document.body.append(form);
      form.submit();
    }`);
    await open.waitForURL("**/form");
    expect(await open.title()).toBe("form v1");
    expect(asked(v2)).toEqual([]);
  });

  test("gets the new version by its next page", async () => {
    await open.reload();
    expect(await open.textContent("#version")).toBe("v2");
    expect(await look(open)).toEqual(seenBy("v2"));
  });

  test("still gets the files of its build when a second tab has the new version", async () => {
    const second = await open.context().newPage();
    await second.goto(address);
    expect(await second.textContent("#version")).toBe("v2");
    expect(await look(second)).toEqual(seenBy("v2"));
    const load = (page: Page, path: string): Promise<unknown> =>
      page.evaluate(`import("${path}").then(({ data }) => data)`);
    expect(await load(open, "/assets/later-v1.js")).toBe("v1");
    expect(await load(second, "/assets/later-v2.js")).toBe("v2");
    expect(asked(v1)).toEqual(["GET /assets/later-v1.js"]);
  });
});

describe("a page whose files a browser may keep", () => {
  const FILES = 40;
  const plain = Array.from({ length: FILES }, (_, index) => `/plain-${index}.js`);
  const hashed = Array.from(
    { length: FILES },
    (_, index) => `/index-Bk${String(index).padStart(2, "0")}aZ9q.js`,
  );

  test.each([
    ["pulse", FILES],
    ["none", 0],
  ])(
    "asks again, with contract %s, for %i of its plain files and none with a hash when a cookie changes",
    async (contract, expected) => {
      const backend = await startBackend("v1");
      backends.push(backend);
      backend.handler = ({ url = "" }, response) => {
        if (url.startsWith("/_pulse/")) return false;
        const isPage = url === "/";
        const scripts = [...plain, ...hashed].map((path) => `<script src=${path}></script>`).join("");
        response
          .writeHead(200, {
            "content-type": isPage ? "text/html" : "text/javascript",
            "cache-control": isPage ? "no-store" : "max-age=600",
          })
          .end(isPage ? `<!doctype html><link rel=icon href=data:,>${scripts}` : "1;".padEnd(5_000, " "));
        return true;
      };
      const name = `kept-${contract}`;
      await putApp(stack, name, { hosts: [`${name}.localhost`], contract });
      await deployUrl(stack, name, "v1", backend.url);
      const address = `http://${name}.localhost:${stack.port}/`;
      const context = await browser.newContext();
      // In a tab of its own each time: a tab's memory keeps scripts, whatever they vary by.
      const load = async (before = ""): Promise<{ plain: number; hashed: number; ms: number }> => {
        const page = await context.newPage();
        if (before !== "") await context.addCookies([{ name: "visit", value: before, url: address }]);
        backend.seen.length = 0;
        const start = performance.now();
        await page.goto(address);
        const ms = Math.round(performance.now() - start);
        const paths = backend.seen.map(({ url }) => url);
        await page.close();
        return {
          plain: paths.filter((path) => path.startsWith("/plain-")).length,
          hashed: paths.filter((path) => path.startsWith("/index-")).length,
          ms,
        };
      };
      const first = await load();
      const again = await load();
      const changed = await load("2");
      console.log(
        `Page of ${2 * FILES} files, contract ${contract}:`,
        JSON.stringify({ first, again, changed }),
      );
      expect(first).toMatchObject({ plain: FILES, hashed: FILES });
      expect(again).toMatchObject({ plain: 0, hashed: 0 });
      expect(changed).toMatchObject({ plain: expected, hashed: 0 });
      await context.close();
    },
  );
});
