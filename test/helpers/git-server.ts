import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** git's own server, behind a login. `telltale.git` fails and says the login. */
export interface GitServer {
  origin: string;
  /** Passwords that clients sent, in their order. */
  logins: string[];
  /** Makes a repository with these files on `main`; answers its address. */
  make(name: string, files?: Record<string, string>): string;
  /** A file as the repository has it on a branch. */
  file(name: string, path: string, branch?: string): string;
  /** Another person's commit. */
  commit(name: string, files: Record<string, string>): void;
  stop(): Promise<void>;
}

export async function startGitServer(password: string): Promise<GitServer> {
  const root = await mkdtemp(join(tmpdir(), "signalbox-git-"));
  const logins: string[] = [];
  const server = createServer((request, response) => {
    const [, encoded = ""] = /^Basic (.+)$/.exec(request.headers.authorization ?? "") ?? [];
    const [, given = ""] = /^[^:]*:(.*)$/s.exec(Buffer.from(encoded, "base64").toString()) ?? [];
    if (encoded !== "") logins.push(given);
    if (encoded !== "" && request.url?.startsWith("/telltale.git") === true) {
      response.writeHead(500, { "content-type": "text/plain" }).end(`your login is ${given}\n`);
      return;
    }
    if (given === password) return serve(root, request, response);
    response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const git = (directory: string, ...args: string[]): string =>
    execFileSync("git", ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", ...args], {
      cwd: directory,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  const commit = (name: string, files: Record<string, string>): void => {
    const work = join(root, "work");
    git(root, "clone", "--quiet", `${name}.git`, work);
    for (const [path, content] of Object.entries(files))
      execFileSync("sh", ["-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", join(work, path)], {
        input: content,
      });
    git(work, "add", "-A");
    git(work, "commit", "--quiet", "-m", "by Ada");
    git(work, "push", "--quiet", "origin", "HEAD:main");
    execFileSync("rm", ["-rf", work]);
  };
  return {
    origin,
    logins,
    commit,
    make(name, files) {
      git(root, "init", "--quiet", "--bare", "--initial-branch=main", `${name}.git`);
      if (files !== undefined) commit(name, files);
      return `${origin}/${name}.git`;
    },
    file: (name, path, branch = "main") => git(join(root, `${name}.git`), "show", `${branch}:${path}`),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** By the Common Gateway Interface. */
function serve(root: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? "/", "http://git");
  const backend = spawn("git", ["http-backend"], {
    env: {
      PATH: process.env["PATH"] ?? "",
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method ?? "GET",
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      HTTP_GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
      REMOTE_USER: "ada",
      REMOTE_ADDR: "127.0.0.1",
    },
  });
  request.pipe(backend.stdin);
  backend.stdin.on("error", () => undefined); // it answered before it had read all
  let head = Buffer.alloc(0);
  let isOpen = false;
  backend.stdout.on("data", (chunk: Buffer) => {
    if (isOpen) return void response.write(chunk);
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return;
    isOpen = true;
    let status = 200;
    for (const line of head.subarray(0, end).toString().split("\r\n")) {
      const [name = "", value = ""] = line.split(/:\s*/, 2);
      if (name.toLowerCase() === "status") status = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.writeHead(status);
    response.write(head.subarray(end + 4));
  });
  backend.stdout.on("end", () => response.end());
}
