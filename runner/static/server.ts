import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { extname, join, resolve } from "node:path";
import send from "send";
import { Etags } from "./etags.ts";
import type { StaticSettings } from "./settings.ts";

/** Of the source itself, where all of it is served: for tools, not for visitors. */
const NOT_SERVED = /^\/(?:node_modules(?:\/|$)|(?:signalbox|package|package-lock)\.json$)/i;

type Options = Pick<StaticSettings, "directory" | "spa" | "immutable">;

/** Serves the files of a directory as a website. `deployment` tells its entity tags from other versions'. */
export function createStaticServer(options: Options, deployment: string): Server {
  const site = new Site(options, new Etags(deployment));
  return createServer((request, response) => {
    site.answer(request, response).catch((error: unknown) => {
      console.error(error);
      if (response.headersSent) response.destroy();
      else refuse(response, 500);
    });
  });
}

class Site {
  readonly #options: Options;
  readonly #etags: Etags;

  constructor(options: Options, etags: Etags) {
    this.#options = options;
    this.#etags = etags;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      return refuse(response, 405);
    }
    const [path = "/", query] = (request.url ?? "/").split(/(?=\?)/);
    const decoded = decode(path);
    if (decoded === null) return refuse(response, 400);
    if (hasHidden(decoded) || NOT_SERVED.test(decoded)) return this.#missing(request, response, decoded);
    this.#send(request, response, path, query ?? "", {
      missing: () => void this.#missing(request, response, decoded),
      cacheControl: this.#options.immutable.some((prefix) => decoded.startsWith(prefix))
        ? "public, max-age=31536000, immutable"
        : "no-cache",
    });
  }

  /** What is there instead of a file that isn't. */
  async #missing(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    const { directory, spa } = this.#options;
    const name = spa && isDocument(request, path) ? "index.html" : "404.html";
    if (!(await isFile(join(directory, name)))) return refuse(response, 404);
    if (name === "404.html") response.statusCode = 404;
    this.#send(request, response, `/${name}`, "", {
      missing: () => refuse(response, 404),
      cacheControl: "no-cache",
    });
  }

  #send(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    query: string,
    { missing, cacheControl }: { missing: () => void; cacheControl: string },
  ): void {
    const isPage = response.statusCode === 200;
    send(request, path, {
      root: resolve(this.#options.directory),
      extensions: ["html"],
      // Hidden ones have been refused; /.well-known/ is for everybody.
      dotfiles: "allow",
      cacheControl: false,
      lastModified: false,
      acceptRanges: isPage,
    })
      .on("file", (file: string, stats: Parameters<Etags["of"]>[1]) => {
        response.setHeader("etag", this.#etags.of(file, stats));
        response.setHeader("cache-control", cacheControl);
      })
      .on("directory", () => {
        // A path relative to this server, which no double slash turns into another one's.
        const location = `${path.replace(/^[/\\]+/, "/")}/${query}`;
        response.writeHead(301, { location, "cache-control": "no-cache" }).end();
      })
      .on("error", (error: { status?: number; headers?: Record<string, string> }) => {
        const status = error.status ?? 500;
        if (status !== 404) return refuse(response, status, error.headers);
        missing();
      })
      .pipe(response);
  }
}

/** Whether somebody wants to look at it: browsers ask for HTML by name then, and for scripts and images they don't. */
function isDocument({ headers }: IncomingMessage, path: string): boolean {
  return (
    /\btext\/html\b/.test(headers.accept ?? "") || (extname(path) === "" && !("sec-fetch-dest" in headers))
  );
}

/** Files that begin with a dot hold secrets as often as not. */
function hasHidden(path: string): boolean {
  return path
    .replace(/^\/\.well-known(?=\/|$)/, "")
    .split(/[/\\]/)
    .some((part) => part.startsWith("."));
}

function decode(path: string): string | null {
  try {
    const decoded = decodeURIComponent(path).replace(/\/{2,}/g, "/");
    return decoded.includes("\0") ? null : decoded;
  } catch {
    return null;
  }
}

function refuse(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  for (const name of ["etag", "content-length", "content-type"]) response.removeHeader(name);
  response
    .writeHead(status, {
      "content-type": "text/plain; charset=utf-8",
      "cache-control": "no-cache",
      ...headers,
    })
    .end(status === 404 ? "Not found\n" : `${status}\n`);
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isFile() ?? false;
}
