import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { packTar, type TarEntry, type TarHeader } from "modern-tar";
import type { HostOptions } from "../../runner/deployments/host.ts";
import type { HostedDeployment } from "../../functions/protocol/runner-api.ts";

const SCRIPT = new URL("runner-host.ts", import.meta.url).pathname;

/** Resolves with the first value that isn't null or false; fails with what was waited for. */
export async function until<T>(
  what: string,
  look: () => Promise<T | null | false | undefined> | T | null | false | undefined,
  limitMs = 90_000,
): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await look();
    if (value !== null && value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`Waited in vain until ${what}.`);
    await sleep(20);
  }
}

export type Tree = Record<string, string | Partial<TarHeader>>;

/** A gzip tar archive: a string is a file's content, a header anything else. */
export async function archive(tree: Tree): Promise<{ data: Buffer; sha256: string }> {
  const entries = Object.entries(tree).map(([name, given]): TarEntry => {
    if (typeof given !== "string") return { header: { name, size: 0, ...given } };
    return { header: { name, size: Buffer.byteLength(given), type: "file", mode: 0o644 }, body: given };
  });
  return hashed(gzipSync(await packTar(entries)));
}

export function hashed(data: Buffer): { data: Buffer; sha256: string } {
  return { data, sha256: createHash("sha256").update(data).digest("hex") };
}

/** A runner's host in a process of its own. */
export class HostProcess {
  readonly child: ChildProcess;
  readonly origin: string;
  readonly errors: string[];

  private constructor(child: ChildProcess, origin: string, errors: string[]) {
    this.child = child;
    this.origin = origin;
    this.errors = errors;
  }

  static async start(options: HostOptions, env: Record<string, string> = {}): Promise<HostProcess> {
    const child = spawn(process.execPath, [SCRIPT, JSON.stringify(options)], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const errors: string[] = [];
    createInterface({ input: child.stderr }).on("line", (line) => errors.push(line));
    const lines = createInterface({ input: child.stdout });
    const ended = once(child, "exit").then(() => {
      throw new Error(`The host ended: ${errors.join("\n")}`);
    });
    ended.catch(() => undefined);
    const [line]: unknown[] = await Promise.race([once(lines, "line"), ended]);
    return new HostProcess(child, `http://127.0.0.1:${String(line).split(" ")[1]}`, errors);
  }

  /** As a power cut would. */
  async kill(): Promise<void> {
    const exited = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exited;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, "exit");
    this.child.kill("SIGTERM");
    await exited;
  }

  async upload(tree: Tree): Promise<string> {
    const { data, sha256 } = await archive(tree);
    const response = await fetch(`${this.origin}/sources`, { method: "PUT", body: new Uint8Array(data) });
    if (response.status !== 200) throw new Error(await response.text());
    return sha256;
  }

  async put(key: string, spec: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
    return this.json("PUT", `/deployments/${key}`, spec);
  }

  async json(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`${this.origin}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      body: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>,
    };
  }

  async status(key: string): Promise<HostedDeployment> {
    const { body } = await this.json("GET", `/deployments/${key}`);
    return body as unknown as HostedDeployment;
  }

  async reaches(key: string, ...states: string[]): Promise<HostedDeployment> {
    let last = "";
    return until(`${key} is ${states.join(" or ")}`, async () => {
      const status = await this.status(key);
      const text = `${status.state}: ${status.reason ?? ""}`;
      if (text !== last) last = text;
      return states.includes(status.state) ? status : null;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)} It is ${last}`);
    });
  }

  async logs(key: string): Promise<string> {
    const { body } = await this.json("GET", `/deployments/${key}/logs`);
    return (body["lines"] as { text: string }[]).map(({ text }) => text).join("\n");
  }
}

/** Ids of living processes with this text in their environment. */
export async function processesWith(text: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const environment = await readFile(join("/proc", name, "environ"), "latin1").catch(() => "");
    if (environment.includes(text)) found.push(Number(name));
  }
  return found;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A server that answers with the given expression, with no dependencies. */
export function server(body: string): string {
  return `import { createServer } from "node:http";
createServer((request, response) => { ${body} }).listen(process.env.PORT, process.env.HOST, () => console.log("up on " + process.env.PORT));
`;
}
