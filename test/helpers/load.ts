import { spawn } from "node:child_process";
import { join } from "node:path";
import { WebSocket } from "ws";
import { projectRoot } from "../../scripts/build/worker.ts";
import type { Backend } from "./backend.ts";
import type { LoadPlan, StreamReport } from "./load-generator.ts";

/** Starts the load generator in a process of its own; `stop` lets it finish and returns what it saw. */
export function startLoad(plan: LoadPlan): { stop(): Promise<StreamReport[]> } {
  const script = join(projectRoot, "test/helpers/load-generator.ts");
  const child = spawn(process.execPath, [script, JSON.stringify(plan)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const output = (async () => {
    let text = "";
    for await (const chunk of child.stdout) text += String(chunk);
    return text;
  })();
  return {
    async stop() {
      child.stdin.end();
      const lines = (await output).trim().split("\n");
      return JSON.parse(lines.at(-1) ?? "");
    },
  };
}

/** How often each nonce has arrived at any of the backends. */
export function countNonces(backends: Backend[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const backend of backends) {
    const { handler } = backend;
    backend.handler = (request, response) => {
      const nonce = /[?&]nonce=([^&]+)/.exec(request.url ?? "")?.[1];
      if (nonce !== undefined) counts.set(nonce, (counts.get(nonce) ?? 0) + 1);
      return handler(request, response);
    };
  }
  return counts;
}

/** A WebSocket that counts: each number is sent once and must come back once, in order, from one deployment. */
export class CountingSocket {
  readonly #socket: WebSocket;
  readonly #from: string;
  readonly #timer: NodeJS.Timeout;
  readonly faults: string[] = [];
  sent = 0;
  received = 0;

  private constructor(socket: WebSocket, from: string, periodMs: number) {
    this.#socket = socket;
    this.#from = from;
    socket.on("message", (data: Buffer) => {
      this.received += 1;
      const expected = `${from}:${this.received}`;
      if (data.toString() !== expected) this.faults.push(`got ${data.toString()} instead of ${expected}`);
    });
    socket.on("close", (code) => this.faults.push(`closed with ${code} after ${this.received}`));
    socket.on("error", (error) => this.faults.push(error.message));
    this.#timer = setInterval(() => socket.send(String(++this.sent)), periodMs);
  }

  static async open(options: {
    port: number;
    host: string;
    pin: string | null;
    from: string;
    periodMs?: number;
  }): Promise<CountingSocket> {
    const query = options.pin === null ? "" : `?pulse_deployment=${options.pin}`;
    const socket = new WebSocket(`ws://127.0.0.1:${options.port}/live${query}`, {
      headers: { host: options.host },
    });
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    return new CountingSocket(socket, options.from, options.periodMs ?? 20);
  }

  /** Stops counting, waits for what is still on its way, and returns all that went wrong. */
  async finish(): Promise<string[]> {
    clearInterval(this.#timer);
    const deadline = Date.now() + 60_000;
    while (this.received < this.sent && this.faults.length === 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (this.received !== this.sent) {
      this.faults.push(`${this.#from}: ${this.sent} sent, ${this.received} came back`);
    }
    const faults = [...this.faults];
    this.#socket.terminate();
    return faults;
  }
}
