import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort } from "../../scripts/local/free-port.ts";

/** Milliseconds from SIGTERM to SIGKILL. An idle server ends in about 10. */
const STOP_GRACE_MS = 5_000;

/** Another process can take a free port before the server binds it. */
const PORT_ATTEMPTS = 5;

export interface RedisServer {
  readonly port: number;
  readonly dir: string;
  readonly pid: number;
  /** Ends the server in order and removes its directory, unless the caller brought that. */
  stop(): Promise<void>;
  /** Ends it as a crash would; the directory stays until `stop`. */
  kill(): Promise<void>;
}

export interface RedisOptions {
  /** Port and directory of an earlier server, to bring it back where its clients look for it. */
  port?: number;
  dir?: string;
  /** Whether each write is on disk before it is answered. */
  persist?: boolean;
}

/** A real redis-server on the loopback interface. It ends with its owner, however the owner ends. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "signalbox-redis-")));
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await freePort());
    const saving = options.persist
      ? ["--appendonly", "yes", "--appendfsync", "always"]
      : ["--appendonly", "no"];
    const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", ...saving];
    const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] });
    const output = await untilReady(child);
    if (output === null) return ownedServer(child, port, dir, options.dir === undefined);
    if (attempt === PORT_ATTEMPTS || !output.includes("Address already in use")) {
      throw new Error(`redis-server didn't start on port ${port}:\n${output}`);
    }
  }
}

function ownedServer(child: ChildProcess, port: number, dir: string, ownsDir: boolean): RedisServer {
  const { pid } = child;
  if (pid === undefined) throw new Error("redis-server has no pid although it started");
  const guard = startGuard(pid, ownsDir ? dir : "");
  const exited = once(child, "exit").then(() => guard.kill("SIGKILL"));

  async function end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    child.kill(signal);
    const force = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS);
    await exited;
    clearTimeout(force);
  }

  return {
    port,
    dir,
    pid,
    async stop() {
      await end("SIGTERM");
      if (ownsDir) await rm(dir, { recursive: true, force: true });
    },
    kill: () => end("SIGKILL"),
  };
}

/**
 * A shell that waits for the end of its input, which comes when this process is gone, and then ends the server.
 * An exit handler would not run if this process were killed, as test runners do to hanging workers.
 */
function startGuard(pid: number, dir: string): ChildProcess {
  const script = 'read -r _; kill -KILL "$1"; [ -z "$2" ] || rm -rf "$2"';
  const guard = spawn("sh", ["-c", script, "guard", String(pid), dir], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  guard.unref();
  // Without this, the open pipe alone would keep the owner's event loop alive.
  if (guard.stdin && "unref" in guard.stdin && typeof guard.stdin.unref === "function") guard.stdin.unref();
  return guard;
}

/** Null once the server accepts connections, its output when it ended instead. */
async function untilReady(child: ChildProcess): Promise<string | null> {
  const failed = once(child, "error").then(([error]) => {
    throw new Error("redis-server can't be started: install it (apt-get install redis-server)", {
      cause: error,
    });
  });
  return await Promise.race([readUntilReady(child), failed]);
}

async function readUntilReady(child: ChildProcess): Promise<string | null> {
  const { stdout } = child;
  if (!stdout) throw new Error("redis-server was started without a pipe for its output");
  const lines: string[] = [];
  const reader = createInterface({ input: stdout });
  return await new Promise((resolve) => {
    reader.on("line", (line) => {
      lines.push(line);
      if (line.includes("Ready to accept connections")) resolve(null);
    });
    reader.on("close", () => resolve(lines.join("\n")));
  });
}
