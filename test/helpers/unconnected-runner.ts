import { setTimeout as sleep } from "node:timers/promises";
import type { HostedDeployment } from "../../functions/protocol/runner-api.ts";
import type { WorkspaceOptions } from "../../runner/workspace.ts";
import { archive, type Tree } from "./archive.ts";
import { TEST_LEVEL } from "./test-level.ts";
import { unconnectedRunnerFile } from "./build-worker.ts";
import { Program } from "./program.ts";

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

/** A runner without its connection in a process of its own: its internal API is on loopback. */
export class UnconnectedRunner {
  readonly origin: string;
  readonly #program: Program;

  private constructor(program: Program, origin: string) {
    this.#program = program;
    this.origin = origin;
  }

  static async start(
    options: WorkspaceOptions,
    env: Record<string, string> = {},
    /** What comes before the program: how it becomes another user. */
    before: string[] = [],
  ): Promise<UnconnectedRunner> {
    // A network of its own for each command costs a test more than all else that it does.
    const level = TEST_LEVEL === undefined ? {} : { level: TEST_LEVEL };
    const confined = { confinement: { sharesNetwork: true, ...level }, ...options };
    const command = [...before, process.execPath, unconnectedRunnerFile, JSON.stringify(confined)] as const;
    const program = new Program([command[0] ?? "", ...command.slice(1)], {
      env: { ...ownEnvironment(), ...env },
    });
    const port = /\d+$/.exec(await program.line("listening on port"))?.[0];
    return new UnconnectedRunner(program, `http://127.0.0.1:${port}`);
  }

  /** What it has written so far. */
  get lines(): readonly string[] {
    return this.#program.lines;
  }

  get pid(): number {
    return this.#program.pid;
  }

  /** As a power cut would. */
  kill(): Promise<void> {
    return this.#program.kill();
  }

  stop(): Promise<void> {
    return this.#program.stop();
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

/** A server that answers with the given expression, with no dependencies. */
export function server(body: string): string {
  return `import { createServer } from "node:http";
createServer((request, response) => { ${body} }).listen(process.env.PORT, process.env.HOST, () => console.log("up on " + process.env.PORT));
`;
}

/** Without what npm tells its scripts: a machine's own registry and certificates would count more than a test's. */
function ownEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined || /^npm_/i.test(name) ? [] : [[name, value]],
    ),
  );
}
