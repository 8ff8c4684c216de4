import type { BrowserContext, Page } from "playwright-core";
import { expect } from "vitest";
import { until } from "./stack.ts";

/** What a page of `test/fixtures/pages` can do. */
export type Action = "lazy" | "worker" | "act" | "refresh" | "image" | "optimized" | "form" | "near" | "far";

/** A form of the app that needs no JavaScript; of two steps, the second needs what the server remembers of the first. */
export type PlainForm = "one step" | "two steps";

/** A page of one version, with all that went wrong in it. */
export class Tab {
  readonly page: Page;
  readonly name: string;
  readonly version: string;
  /** Of the deployment, where that isn't called as the version. */
  readonly wrong: string[] = [];

  private constructor(page: Page, name: string, version: string) {
    this.page = page;
    this.name = name;
    this.version = version;
  }

  /** Loads the address until it is of this version, and waits until the app runs and the page helper is in this state. */
  static async open(
    context: BrowserContext,
    address: string,
    version: string,
    name: string,
    state = "connected",
  ): Promise<Tab> {
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    await page.setExtraHTTPHeaders({ "x-tab": name });
    const tab = new Tab(page, name, version);
    await until(
      async () => {
        await page.goto(address);
        return page.locator("#version").textContent();
      },
      (text) => text === version,
    );
    tab.#watch();
    await page.locator("html[data-ready]").waitFor({ state: "attached" });
    await holds(page, `String(window.signalbox?.state) === "${state}"`);
    await page.locator("#typed").fill("typed");
    await page.evaluate(`window.isStillHere = true`);
    return tab;
  }

  /** Has to be the same page, with what was typed into it. */
  async isUntouched(): Promise<void> {
    const isHere = await this.page.evaluate(`window.isStillHere === true`);
    const typed = await this.page.locator("#typed").inputValue();
    expect(this.wrong.join("\n")).toBe("");
    expect({ isHere, typed }).toEqual({ isHere: true, typed: "typed" });
  }

  async does(action: Action): Promise<void> {
    await ACTIONS[action](this);
    await this.isUntouched();
  }

  /** As a person turns to a tab, whose page then has the cookie. */
  async turnTo(): Promise<void> {
    await this.page.bringToFront();
    const claimed = this.page.waitForResponse((answer) => answer.url().includes("/_signalbox/page?"));
    await this.page.evaluate(`dispatchEvent(new Event("focus"))`);
    await claimed;
  }

  scripted(): Promise<Record<string, string>> {
    return scripted(this.page, this.name);
  }

  unscripted(): Promise<Record<string, string>> {
    return unscripted(this.page, this.name);
  }

  #watch(): void {
    const { page, wrong, version } = this;
    page.on("console", (message) => {
      if (message.type() === "error") wrong.push(message.text());
    });
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("response", (answer) => {
      const headers = answer.headers();
      // Under the name of its hash it is the same whoever has it, and the browser may have had it before.
      const isByHash = answer.status() === 200 && headers["cache-control"]?.includes("immutable") === true;
      const by = isByHash ? version : headers["x-pulse-selected-deployment"];
      const what = `${answer.status()} ${answer.url()} by ${by}`;
      if (answer.status() >= 400 || (by !== undefined && by !== version)) wrong.push(what);
    });
  }
}

/** A page, or a frame in one. */
type Evaluates = Pick<Page, "evaluate">;

/** All that a script can ask for, except what a cookie alone can lead; each with who answered. */
export function scripted(page: Evaluates, name: string): Promise<Record<string, string>> {
  return page.evaluate(`(async () => {
    ${inPage(name)}
    const source = new EventSource(probe("events"));
    const socket = new WebSocket(probe("live").replace(/^http/, "ws"));
    const shared = new SharedWorker(probe("worker.js"), "${name}");
    shared.port.start();
    const xhr = new XMLHttpRequest();
    xhr.open("GET", probe("id"));
    xhr.send();
    const said = async (target) => (await event(target, "message")).data;
    const [events, live, worker, sharedSaid, module] = await Promise.all([
      said(source),
      said(socket),
      said(new Worker(probe("worker.js"))),
      // Without cookies there are none.
      Promise.race([said(shared.port), event(shared, "error").then(() => "none", () => "none")]),
      said(new Worker(probe("module-worker.js"), { type: "module" })),
      event(xhr, "loadend"),
    ]);
    source.close();
    socket.close();
    return {
      get: await text(fetch(probe("id"))),
      post: await text(fetch(probe("id"), { method: "POST", body: "x" })),
      xhr: xhr.response,
      events,
      live,
      worker,
      shared: sharedSaid,
      module,
    };
  })()`);
}

/** What `scripted` returns where one version has answered all of it. */
export const allBy = (id: string): Record<string, string> => ({
  get: id,
  post: id,
  xhr: id,
  events: id,
  live: id,
  worker: `${id} ${id} ${id}`,
  shared: `${id} ${id} ${id}`,
  module: `${id} ${id} ${id} ${id}`,
});

/** What no script can pin. */
export function unscripted(page: Evaluates, name: string): Promise<Record<string, string>> {
  return page.evaluate(`(async () => {
    ${inPage(name)}
    const image = new Image();
    image.src = probe("logo.svg");
    await event(image, "load");
    const { part } = await import(probe("module-part.js"));
    return { image: "v" + image.naturalWidth, imported: part };
  })()`);
}

const inPage = (name: string): string => `
  const probe = (path) => location.origin + "/probe/" + path + "?tab=${name}&at=" + Math.random();
  const text = async (answer) => (await answer).text();
  const event = (target, name) =>
    new Promise((resolve, reject) => {
      target.addEventListener(name, resolve, { once: true });
      const fail = () => reject(new Error("no " + name + " of " + target.constructor.name));
      if (name !== "error") target.addEventListener("error", fail, { once: true });
      setTimeout(fail, 20_000);
    });`;

const ACTIONS: Record<Action, (tab: Tab) => Promise<void>> = {
  async lazy({ page, version }) {
    await page.locator("#lazy").click();
    await shows(page, "#late", `late ${version}`);
    await until(
      () => page.evaluate(`getComputedStyle(document.querySelector("#late")).color`),
      (color) => color === `rgb(${version.slice(1)}, 0, 0)`,
    );
    await holds(
      page,
      `[...document.fonts].some((each) => each.family.includes("Late") && each.status === "loaded")`,
    );
  },
  async worker({ page, version }) {
    await page.locator("#worker").click();
    await shows(page, "#worked", `part-${version} late-${version} ${version}`);
  },
  async act({ page, version }) {
    await page.locator("#act").click();
    await shows(page, "#acted", `acted ${version} typed`);
  },
  async refresh({ page, version }) {
    const former = await page.locator("#fresh").textContent();
    await page.locator("#refresh").click();
    const fresh = await until(
      () => page.locator("#fresh").textContent(),
      (text) => text !== former,
    );
    expect(fresh).toMatch(new RegExp(`^${version} `));
  },
  async image({ page }) {
    await page.locator("#image").click();
    await holds(page, `document.querySelector("#shown")?.naturalWidth > 0`);
  },
  async optimized({ page }) {
    await holds(page, `document.querySelector("#plain")?.naturalWidth > 0`);
  },
  form: ({ page, version }) => submitsPlainly(page, version, "one step"),
  near: (tab) => goes(tab, "near"),
  far: (tab) => goes(tab, "far"),
};

export async function submitsPlainly(page: Page, version: string, form: PlainForm): Promise<void> {
  if (form === "one step") {
    await page.locator("#form input[name=name]").fill("somebody");
    await page.locator("#form button").click();
    return shows(page, "#formed", `formed ${version} somebody`);
  }
  await page.locator("#first input[name=name]").fill("somebody");
  await page.locator("#first button").click();
  await page.locator("#second input[name=more]").fill("more");
  await page.locator("#second button").click();
  return shows(page, "#done", `done ${version} somebody`);
}

async function goes({ page, version }: Tab, name: string): Promise<void> {
  await page.locator(`#${name}`).click();
  await shows(page, "#place", `${name} ${version} ${version}`);
}

/** Asked from outside the page, whose policy may forbid a script's text. */
async function holds(page: Page, condition: string): Promise<void> {
  await until(
    () => page.evaluate(condition),
    (isSo) => isSo === true,
    20_000,
  );
}

async function shows(page: Page, selector: string, text: string): Promise<void> {
  await until(
    async () => (await page.locator(selector).allTextContents()).join().trim(),
    (seen) => seen === text,
    20_000,
  );
}
