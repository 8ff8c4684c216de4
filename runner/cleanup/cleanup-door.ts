import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { type CleanupReport, parseCleanupReport } from "../../functions/protocol/cleanup.ts";
import { RunnerError } from "../runner-error.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";
import type { Cleanup } from "./cleanup.ts";

/** Where, below WORKSPACE_ROOT, a runner says how to reach its door. */
const PLACE = ".signalbox/cleanup-door";
const PREFIX = "signalbox-cleanup-";

/**
 * The way to a running runner's cleanup from its own machine: a socket that only the runner's user opens, and that knows nothing
 * else. Whoever comes by it can delete what the policy deletes anyway.
 */
export class CleanupDoor {
  readonly #server: Server;
  readonly #directory: string;
  readonly #file: string;

  private constructor(server: Server, directory: string, file: string) {
    this.#server = server;
    this.#directory = directory;
    this.#file = file;
  }

  static async open(root: string, cleanup: Cleanup): Promise<CleanupDoor> {
    const file = join(root, PLACE);
    await removeFormer(file);
    const directory = await mkdtemp(join(tmpdir(), PREFIX));
    const path =
      process.platform === "win32"
        ? `\\\\.\\pipe\\signalbox-cleanup-${process.pid}`
        : join(directory, "door");
    const server = createServer((asked, response) => {
      asked.resume();
      if (asked.method !== "POST") return void response.writeHead(405).end();
      cleanup.run(asked.url === "/dry-run").then(
        (report) => response.end(JSON.stringify(report)),
        () => response.writeHead(500).end(), // the runner's log says why
      );
    });
    server.unref();
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    await writeFileAtomically(file, path);
    return new CleanupDoor(server, directory, file);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#file, { force: true });
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Of a runner that was killed. */
async function removeFormer(file: string): Promise<void> {
  const name = basename(dirname(await readFile(file, "utf8").catch(() => ""))); // there was none
  if (name.startsWith(PREFIX)) await rm(join(tmpdir(), name), { recursive: true, force: true });
}

/** Asks the runner of a workspace. Errors: `not_found`. */
export async function askForCleanup(root: string, dryRun: boolean): Promise<CleanupReport> {
  const socketPath = await readFile(join(root, PLACE), "utf8").catch(() => ""); // there is none
  const text = socketPath === "" ? null : await post(socketPath, dryRun ? "/dry-run" : "/");
  if (text === null)
    throw new RunnerError(
      "not_found",
      `No runner holds ${root}. Start it, or set WORKSPACE_ROOT to the workspace of one that runs.`,
    );
  const report = text === "" ? null : parseCleanupReport(JSON.parse(text));
  if (report === null) throw new RunnerError("internal", "The cleanup failed: the runner's log says why.");
  return report;
}

/** Null: nobody is there. */
function post(socketPath: string, path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, path, method: "POST" }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve(response.statusCode === 200 ? text : ""));
      response.on("error", () => resolve(""));
    });
    asked.on("error", () => resolve(null));
    asked.end();
  });
}
