import { once } from "node:events";
import { existsSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { type Browser, chromium, type Page } from "playwright-core";

/** Where distributions and vendors put Chromium and Chrome. */
const BROWSERS = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

/** A tab with `examples/vite-page` in it. */
export interface OpenPage {
  /** Clicks "More", whose component is loaded only then; answers what the page shows. */
  clickMore(): Promise<string>;
}

/** A visitor's browser: a real one where this machine has one, else what one sends and does. */
export interface PageVisitor {
  /** For the story. */
  readonly name: string;
  open(url: string): Promise<OpenPage>;
  close(): Promise<void>;
}

export async function pageVisitor(): Promise<PageVisitor> {
  // As other tools have it; "" is none.
  const named = process.env["CHROME_PATH"];
  const executablePath = named === undefined ? BROWSERS.find((path) => existsSync(path)) : named || undefined;
  if (executablePath === undefined) return new NetworkVisitor();
  const args = ["--no-sandbox", "--disable-gpu"];
  // One that is there and doesn't start, for want of a library, is no reason to tell no story.
  const browser = await chromium.launch({ executablePath, args }).catch(() => null);
  return browser === null ? new NetworkVisitor() : new BrowserVisitor(browser);
}

class BrowserVisitor implements PageVisitor {
  readonly name = "Chromium";
  readonly #browser: Browser;
  #context: Promise<{ newPage(): Promise<Page> }> | null = null;

  constructor(browser: Browser) {
    this.#browser = browser;
  }

  /** All tabs share one profile, and so one page cookie. */
  async open(url: string): Promise<OpenPage> {
    const page = await (await (this.#context ??= this.#browser.newContext())).newPage();
    const failures: string[] = [];
    page.on("pageerror", ({ message }) => failures.push(message));
    await page.goto(url);
    return {
      async clickMore() {
        await page.click("#more");
        const shown = page.locator("#details", { hasText: /./ });
        await shown.waitFor({ timeout: 10_000 }).catch(() => undefined); // what went wrong is in the failures
        if (failures.length > 0) throw new Error(`the page failed: ${failures.join("; ")}`);
        return (await shown.textContent()) ?? "";
      },
    };
  }

  close(): Promise<void> {
    return this.#browser.close();
  }
}

class NetworkVisitor implements PageVisitor {
  readonly name = "a visitor as far as the network can tell (no Chromium starts here)";
  readonly #cookies = new Map<string, string>();

  async open(url: string): Promise<OpenPage> {
    const html = await this.#get(url, { "sec-fetch-dest": "document", "sec-fetch-mode": "navigate" });
    const [, source = ""] = /<script type="module"[^>]* src="(\/assets\/[^"]+)"/.exec(html) ?? [];
    const script = new URL(source, url).href;
    const main = await this.#get(script, { "sec-fetch-dest": "script", referer: url });
    return {
      clickMore: async () => {
        const [, name = ""] = /import\([`"'](\.\/details-[^`"']+)[`"']/.exec(main) ?? [];
        const component = new URL(name, script).href;
        const code = await this.#get(component, { "sec-fetch-dest": "script", referer: script });
        const [, details = ""] = /[`"'](The details of [^`"']+)[`"']/.exec(code) ?? [];
        return details;
      },
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #get(url: string, headers: Record<string, string>): Promise<string> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const asked = { ...headers, "sec-fetch-site": "same-origin", ...(cookie === "" ? {} : { cookie }) };
    const answer = await get(url, asked);
    for (const line of answer.headers["set-cookie"] ?? []) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      this.#cookies.set(name, value);
    }
    const body = await text(answer);
    if (answer.statusCode === 200) return body;
    throw new Error(`${url} answered ${answer.statusCode}: ${body.slice(0, 200)}`);
  }
}

/** Which deployment a newcomer gets. */
export async function selectedAt(url: string): Promise<unknown> {
  const answer = await get(url, {});
  answer.resume();
  return answer.headers["x-pulse-selected-deployment"];
}

/** `*.localhost` is this machine to browsers, but not to every resolver. */
async function get(url: string, headers: Record<string, string>): Promise<IncomingMessage> {
  const { host, port, pathname } = new URL(url);
  const asked = request({ host: "127.0.0.1", port, path: pathname, headers: { ...headers, host } });
  asked.end();
  const [answer]: IncomingMessage[] = await once(asked, "response");
  if (answer === undefined) throw new Error(`${url} gave no answer`);
  return answer;
}
