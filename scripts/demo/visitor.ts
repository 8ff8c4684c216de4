import { once } from "node:events";
import { WebSocket } from "ws";

/** A visitor's open page: what a browser does with the example, as far as the network can tell. */
export class Visitor {
  readonly #origin: string;
  readonly #sockets: WebSocket[] = [];
  #version = "";
  #count = -1;
  #reloads = 0;

  private constructor(origin: string) {
    this.#origin = origin;
  }

  static async open(origin: string): Promise<Visitor> {
    const visitor = new Visitor(origin);
    await visitor.#load();
    return visitor;
  }

  /** The deployment that the page was loaded from. */
  get version(): string {
    return this.#version;
  }

  /** How far the server has counted for this page. */
  get count(): number {
    return this.#count;
  }

  /** How often the page was told to reload, and did. */
  get reloads(): number {
    return this.#reloads;
  }

  close(): void {
    for (const socket of this.#sockets.splice(0)) socket.close(1001);
  }

  async #load(): Promise<void> {
    this.close();
    const response = await fetch(this.#origin);
    const page = await response.text();
    this.#version = response.headers.get("x-pulse-selected-deployment") ?? "";
    const session = /\/live\?session=([0-9a-f-]{36})/.exec(page)?.[1] ?? "";
    const pin = `pulse_deployment=${this.#version}&pulse_reload_on_stale_affinity=1`;
    const control = await this.#connect(`/_pulse/session?${pin}`);
    control.on("message", (data: Buffer) => {
      if (!data.toString().includes('"reload"')) return;
      this.#reloads += 1;
      void this.#load();
    });
    const live = await this.#connect(`/live?session=${session}&${pin}`);
    live.on("message", (data: Buffer) => {
      this.#count = Number(data.toString());
    });
  }

  async #connect(path: string): Promise<WebSocket> {
    const socket = new WebSocket(this.#origin.replace("http", "ws") + path);
    socket.on("error", () => undefined);
    this.#sockets.push(socket);
    await once(socket, "open");
    return socket;
  }
}
