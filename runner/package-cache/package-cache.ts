import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { z } from "zod";
import type { CleanablePackages } from "../cleanup/cleanup.ts";
import type { CleanupPolicy } from "../cleanup/policy.ts";
import { isAllowed } from "../confinement/allow-list-proxy.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";
import type { Disk, Evictable } from "../workspaces/disk.ts";
import { freshUntil, type Packument, Packuments } from "./packuments.ts";
import { TarballStore } from "./tarball-store.ts";
import { Upstream } from "./upstream.ts";

/** A registry under this path says that its tarballs are here, too: pnpm and yarn note no address that their registry implies. */
const REWRITTEN = "/~";
/** How long it stays away from a registry that it doesn't reach. */
const UNREACHABLE_MS = 60_000;
/** Of a question about advisories. */
const QUESTION_BYTES = 8 * 1024 ** 2;
const PACKUMENT_BYTES = 128 * 1024 ** 2;
const ADVISORIES = "/-/npm/v1/security/";
const dist = z.object({ tarball: z.string(), integrity: z.string().optional() });
/** The short form of a packument. */
const SHORT = "application/vnd.npm.install-v1+json";

/**
 * A registry on loopback that has what it was asked for before. Guests only read by it: what is in it came from the registry of the
 * runner's settings, on the runner's own connection and without a login, so no guest can give another one a package.
 */
export class PackageCache implements CleanablePackages {
  readonly port: number;
  readonly directory: string;
  readonly #upstream: Upstream;
  readonly #server: Server;
  readonly #tarballs: TarballStore;
  readonly #packuments = new Packuments();
  readonly #fetching = new Map<string, Promise<{ file: string; bytes: number } | Passed>>();
  #counts = { hits: 0, misses: 0 };
  #reachable: { until: number; is: Promise<boolean> } | null = null;

  private constructor(directory: string, upstream: Upstream, server: Server, tarballs: TarballStore) {
    this.directory = directory;
    this.#upstream = upstream;
    this.#server = server;
    this.#tarballs = tarballs;
    this.port = (server.address() as AddressInfo).port;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      response.on("error", () => undefined); // its reader has left
      this.#answer(request, response).catch((error: unknown) => {
        if (response.headersSent) return void response.destroy();
        const why = error instanceof Error ? error.message : "it failed";
        sendJson(response, 502, { error: `The runner's package cache: ${why}` });
      });
    });
  }

  /** Null where it couldn't go the way that package managers go. */
  static async open(
    directory: string,
    disk: Disk,
    { bytes }: CleanupPolicy["packages"],
    env: NodeJS.ProcessEnv = process.env,
  ): Promise<PackageCache | null> {
    const upstream = Upstream.from(env);
    if (upstream === null) return null;
    const tarballs = await TarballStore.open(join(directory, "tarballs"), disk, bytes);
    const server = createServer();
    await listen(server, join(directory, "port"));
    return new PackageCache(directory, upstream, server, tarballs);
  }

  /** What sends package managers here; null while the registry isn't reached. */
  async environment(): Promise<Record<string, string> | null> {
    if (this.#reachable === null || this.#reachable.until < Date.now())
      this.#reachable = { until: Date.now() + UNREACHABLE_MS, is: this.#upstream.isReachable() };
    if (!(await this.#reachable.is)) return null;
    const url = `http://127.0.0.1:${this.port}`;
    return {
      npm_config_registry: `${url}/`,
      NPM_CONFIG_REGISTRY: `${url}/`,
      // Lockfiles keep the registry's own addresses, and npm asks for them here.
      npm_config_replace_registry_host: this.#upstream.url.host,
      pnpm_config_registry: `${url}${REWRITTEN}/`,
      YARN_NPM_REGISTRY_SERVER: `${url}${REWRITTEN}`,
      YARN_UNSAFE_HTTP_WHITELIST: "127.0.0.1",
      ...past(process.env),
    };
  }

  /** Whether guests that reach these hosts alone may have what is in it. */
  isFor(allowed: readonly string[] | null): boolean {
    const { hostname, port, protocol } = this.#upstream.url;
    return (
      allowed === null || isAllowed(hostname, Number(port) || (protocol === "https:" ? 443 : 80), allowed)
    );
  }

  status(): { tarballs: number; bytes: number; hits: number; misses: number } {
    return { tarballs: this.#tarballs.count, bytes: this.#tarballs.bytes, ...this.#counts };
  }

  trim(limits: CleanupPolicy["packages"], dryRun: boolean): Promise<{ bytes: number; why: string | null }> {
    return this.#tarballs.trim(limits, dryRun);
  }

  evictables(): Promise<Evictable[]> {
    if (this.#tarballs.count === 0) return Promise.resolve([]);
    return Promise.resolve([{ path: this.directory, evict: () => this.#tarballs.clear() }]);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    this.#upstream.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "GET" } = request;
    const asked = request.url ?? "/";
    const isRewritten = asked.startsWith(`${REWRITTEN}/`);
    const path = isRewritten ? asked.slice(REWRITTEN.length) : asked;
    if (method === "POST" && path.startsWith(ADVISORIES)) return this.#ask(request, response, path);
    if (method !== "GET" && method !== "HEAD")
      return sendJson(response, 405, {
        error: "The runner's package cache is for reading. Name the registry.",
      });
    // A login is for its owner's eyes.
    if (request.headers.authorization !== undefined) return this.#pass(request, response, path);
    if (/\.t(?:ar\.)?gz(?:$|\?)/.test(path)) return this.#tarball(response, path);
    if (path.startsWith("/-/")) return this.#pass(request, response, path);
    const isShort = (request.headers.accept ?? "").includes(SHORT);
    const isForPnpm = /^pnpm\//i.test(request.headers["user-agent"] ?? "");
    return this.#packument(response, path, isShort, isRewritten || isForPnpm);
  }

  async #tarball(response: ServerResponse, path: string): Promise<void> {
    const known = await this.#tarballs.find(path);
    if (known !== null) this.#counts.hits++;
    const found = known ?? (await this.#fetchOnce(path));
    if ("status" in found) {
      response.writeHead(found.status, found.headers).end(found.body);
      return;
    }
    response.writeHead(200, {
      "content-type": "application/octet-stream",
      "content-length": found.bytes,
      "cache-control": "public, immutable, max-age=31557600",
    });
    await pipeline(createReadStream(found.file), response).catch(() => response.destroy()); // it has left, or the file
  }

  /** Several projects that want one at a time get it from one fetch. */
  #fetchOnce(path: string): Promise<{ file: string; bytes: number } | Passed> {
    const underWay = this.#fetching.get(path);
    if (underWay !== undefined) return underWay;
    this.#counts.misses++;
    const fetching = this.#fetchTarball(path).finally(() => this.#fetching.delete(path));
    this.#fetching.set(path, fetching);
    return fetching;
  }

  async #fetchTarball(path: string): Promise<{ file: string; bytes: number } | Passed> {
    const answer = await this.#upstream.get(path, {});
    const { statusCode = 502, headers } = answer;
    if (statusCode !== 200) return passed(answer);
    const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
    return this.#tarballs.put(path, answer, { length, sha512: await this.#expected(path) });
  }

  async #packument(
    response: ServerResponse,
    path: string,
    isShort: boolean,
    isRewritten: boolean,
  ): Promise<void> {
    const key = `${isShort ? "short" : "full"} ${decoded(path)}`;
    const known = this.#packuments.find(key);
    let packument = known;
    if (packument === null || packument.freshUntil < Date.now()) {
      const fetched = await this.#fetchPackument(path, isShort, known).catch((error: unknown) => {
        // Better old than none.
        if (known === null) throw error;
        return known;
      });
      if ("status" in fetched) {
        response.writeHead(fetched.status, fetched.headers).end(fetched.body);
        return;
      }
      packument = fetched;
      this.#packuments.set(key, packument);
    }
    if (!isRewritten) {
      response.writeHead(200, { "content-type": packument.type, "content-encoding": "gzip" });
      response.end(packument.body);
      return;
    }
    const text = (await promisify(gunzip)(packument.body)).toString("utf8");
    const here = `"tarball":"http://127.0.0.1:${this.port}${REWRITTEN}/`;
    const { href } = this.#upstream.url;
    response.writeHead(200, { "content-type": packument.type });
    response.end(
      text.replaceAll(
        new RegExp(`"tarball"\\s*:\\s*"${href.replace(/[.?*+^$()[\]{}|\\]/g, "\\$&")}`, "g"),
        here,
      ),
    );
  }

  async #fetchPackument(
    path: string,
    isShort: boolean,
    known: Packument | null,
  ): Promise<Packument | Passed> {
    const answer = await this.#upstream.get(path, {
      accept: isShort ? `${SHORT}; q=1.0, application/json; q=0.8` : "application/json",
      "accept-encoding": "gzip",
      ...(known?.etag === undefined ? {} : { "if-none-match": known.etag }),
    });
    const { statusCode = 502, headers } = answer;
    if (statusCode === 304 && known !== null) {
      answer.resume();
      return { ...known, freshUntil: freshUntil(headers["cache-control"]) };
    }
    if (statusCode !== 200) return passed(answer);
    const sent = await bufferWithin(answer, PACKUMENT_BYTES);
    const isGzipped = headers["content-encoding"] === "gzip";
    const body = isGzipped ? sent : await promisify(gzip)(sent);
    return {
      body,
      etag: headers.etag,
      type: headers["content-type"] ?? "application/json",
      freshUntil: freshUntil(headers["cache-control"]),
    };
  }

  /** What the registry said that a tarball is, as SHA-512; undefined: it wasn't asked, or didn't say. */
  async #expected(path: string): Promise<string | undefined> {
    const name = /^(.*?)\/-\/[^/]+$/.exec(decoded(path))?.[1];
    const packument = this.#packuments.find(`short ${name}`) ?? this.#packuments.find(`full ${name}`);
    if (packument === null) return undefined;
    const text = (await promisify(gunzip)(packument.body)).toString("utf8");
    const integrity = distOf(text, path)
      ?.integrity?.split(" ")
      .find((one) => one.startsWith("sha512-"));
    return integrity && Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex");
  }

  async #ask(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    const body = await bufferWithin(request, QUESTION_BYTES);
    const { "content-type": type = "application/json", "content-encoding": encoding } = request.headers;
    const headers = {
      "content-type": type,
      ...(encoding === undefined ? {} : { "content-encoding": encoding }),
    };
    const answer = await this.#upstream.get(path, headers, undefined, { method: "POST", body });
    response.writeHead(answer.statusCode ?? 502, safe(answer));
    await pipeline(answer, response);
  }

  async #pass(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    const { authorization, accept } = request.headers;
    const answer = await this.#upstream.get(path, {
      ...(accept === undefined ? {} : { accept }),
      ...(authorization === undefined ? {} : { authorization }),
    });
    response.writeHead(answer.statusCode ?? 502, safe(answer));
    await pipeline(answer, response);
  }
}

/** What a packument says of one tarball. Parsing all of a large one for each takes longer than the tarball. */
function distOf(packument: string, path: string): z.infer<typeof dist> | null {
  const at = packument.indexOf(`${path}"`);
  const begin = packument.indexOf("{", packument.lastIndexOf('"dist"', at));
  if (at === -1 || begin === -1 || begin > at) return null;
  let depth = 0;
  for (let index = begin; index < packument.length; index++) {
    const character = packument[index];
    if (character === "{") depth++;
    else if (character === "}" && --depth === 0) {
      const known = dist.safeParse(jsonOf(packument.slice(begin, index + 1))).data;
      return known !== undefined && known.tarball.endsWith(path) ? known : null;
    }
  }
  return null;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a brace in a string: it says nothing then
  }
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** An answer that isn't kept. */
interface Passed {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
}

async function passed(answer: IncomingMessage): Promise<Passed> {
  const { statusCode = 502, headers } = answer;
  // Some registries have their tarballs elsewhere; whoever asked goes there by itself.
  const { "content-type": type = "application/json", location } = headers;
  return {
    status: statusCode,
    headers: { "content-type": type, ...(location === undefined ? {} : { location }) },
    body: await bufferWithin(answer, QUESTION_BYTES),
  };
}

function safe({ headers }: IncomingMessage): Record<string, string> {
  const names = ["content-type", "content-encoding", "content-length", "etag", "location"];
  return Object.fromEntries(
    names.flatMap((name) => (headers[name] === undefined ? [] : [[name, String(headers[name])]])),
  );
}

/** Loopback needs no proxy. */
function past(env: NodeJS.ProcessEnv): Record<string, string> {
  const known = env["no_proxy"] ?? env["NO_PROXY"] ?? "";
  const direct = known === "" ? "127.0.0.1" : `${known},127.0.0.1`;
  return { no_proxy: direct, NO_PROXY: direct };
}

async function bufferWithin(message: IncomingMessage, limit: number): Promise<Buffer> {
  let bytes = 0;
  message.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > limit) message.destroy(new Error(`more than ${limit} bytes`));
  });
  return buffer(message);
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** On the port of the last time, if it is free: pnpm remembers the registry of what it installed. */
async function listen(server: Server, file: string): Promise<void> {
  const former = Number(await readFile(file, "utf8").catch(() => "0")); // the first time
  const tries = Number.isInteger(former) && former > 0 && former < 65_536 ? [former, 0] : [0];
  for (const port of tries) {
    const error = await new Promise<Error | null>((resolve) => {
      server.once("error", resolve);
      server.listen(port, "127.0.0.1", () => {
        server.off("error", resolve);
        resolve(null);
      });
    });
    if (error === null) return writeFileAtomically(file, String((server.address() as AddressInfo).port));
    if (port === 0) throw error;
  }
}
