import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";

const PUBLIC_REGISTRY = "https://registry.npmjs.org/";
/** For all projects together. */
const SOCKETS = 32;
const SILENCE_MS = 60_000;
const PROBE_MS = 5_000;
/** npm's own words for its way out; the cache would need the same. */
const NPM_NETWORK = /^npm_config_(?:ca|cafile|strict_ssl|proxy|https_proxy|noproxy)$/i;
const PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/** The registry that the runner's own settings name, as this process reaches it. */
export class Upstream {
  readonly url: URL;
  readonly #agent: HttpAgent;

  private constructor(url: URL, agent: HttpAgent) {
    this.url = url;
    this.#agent = agent;
  }

  /** Null: this process can't go the way that package managers go. */
  static from(env: NodeJS.ProcessEnv): Upstream | null {
    const named = Object.entries(env).find(
      ([name, value]) => /^npm_config_registry$/i.test(name) && (value ?? "") !== "",
    )?.[1];
    const url = URL.parse(named ?? PUBLIC_REGISTRY);
    // A login in it is the runner's, and what it opens isn't for everybody.
    if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "") return null;
    if (Object.entries(env).some(([name, value]) => NPM_NETWORK.test(name) && (value ?? "") !== ""))
      return null;
    const isBehindProxy = PROXIES.some((name) => (env[name] ?? env[name.toLowerCase()] ?? "") !== "");
    const options = { keepAlive: true, maxSockets: SOCKETS };
    if (isBehindProxy && !knowsProxies()) return null;
    const given = isBehindProxy ? { ...options, proxyEnv: env } : options;
    const agent = url.protocol === "https:" ? new HttpsAgent(given) : new HttpAgent(given);
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    return new Upstream(url, agent);
  }

  /** Whether it answers at all. */
  async isReachable(): Promise<boolean> {
    try {
      const answer = await this.get("/", {}, AbortSignal.timeout(PROBE_MS));
      answer.destroy();
      return true;
    } catch {
      return false; // package managers go by themselves then, and say why that fails
    }
  }

  /** A path of this registry, with or without the prefix that its own address has. */
  get(
    path: string,
    headers: Record<string, string>,
    signal?: AbortSignal,
    sent?: { method: string; body: Buffer },
  ): Promise<IncomingMessage> {
    const { pathname } = this.url;
    const full = path.startsWith(pathname) ? path : `${pathname}${path.slice(1)}`;
    const send = this.url.protocol === "https:" ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const asked = send(
        {
          protocol: this.url.protocol,
          hostname: this.url.hostname.replace(/^\[|\]$/g, ""),
          port: this.url.port,
          path: full,
          method: sent?.method ?? "GET",
          headers,
          agent: this.#agent,
          timeout: SILENCE_MS,
          ...(signal === undefined ? {} : { signal }),
        },
        resolve,
      );
      asked.on("timeout", () => asked.destroy(new Error(`${this.url.host} said nothing for a minute`)));
      asked.on("error", reject);
      asked.end(sent?.body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Agents read proxies from Node 24.5 on; Deno's don't. */
function knowsProxies(): boolean {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return !("Deno" in globalThis) && (major > 24 || (major === 24 && minor >= 5));
}
