import { request, type Agent, type ClientRequest, type IncomingMessage } from "node:http";
import type { Frame, OpenHead, RawHeaders } from "../../functions/protocol/frames.ts";
import { Answer } from "./answer.ts";
import { answerHead, requestHeaders, type BodyFraming } from "./headers.ts";
import { type ResolvedTarget, wayTo } from "./services.ts";
import type { StreamPort, TunnelStream } from "./stream-port.ts";

/** Cloudflare's limit on all headers; Node's own default is 16 KiB. */
const HEADERS_LIMIT_BYTES = 128 * 1024;

export interface HttpStreamOptions {
  port: StreamPort;
  target: ResolvedTarget;
  agent: Agent;
  headTimeoutMs: number;
}

/** One proxied request. Throws MalformedRequest when it can't be sent as it came. */
export class HttpStream implements TunnelStream {
  readonly #options: HttpStreamOptions;
  readonly #head: OpenHead;
  readonly #headers: RawHeaders;
  readonly #framing: BodyFraming;
  readonly #headTimeout: NodeJS.Timeout;
  /** It can be sent again when a kept connection turns out to be closed. */
  readonly #repeatable: boolean;
  #request: ClientRequest | undefined;
  #answer: Answer | undefined;
  #sentBytes = 0;
  #released = false;

  constructor(options: HttpStreamOptions, head: OpenHead, body: Uint8Array, end: boolean) {
    this.#options = options;
    this.#head = head;
    const { headers, framing } = requestHeaders(head, end ? body.byteLength : null, options.target);
    this.#headers = headers;
    this.#framing = framing;
    this.#repeatable = end && body.byteLength === 0 && /^(?:GET|HEAD|OPTIONS)$/.test(head.method);
    this.#headTimeout = setTimeout(
      () => options.port.reset("timeout", "The service didn't answer in time."),
      options.headTimeoutMs,
    );
    try {
      this.#request = this.#start();
      // Node would wait for the body's first bytes.
      if (!end) this.#request.flushHeaders();
      this.data(body, end);
    } catch (error) {
      clearTimeout(this.#headTimeout);
      throw error;
    }
  }

  data(body: Uint8Array, end: boolean): void {
    const { port } = this.#options;
    const request = this.#request;
    if (request === undefined || request.destroyed) {
      // The service answered without waiting for the body and hung up.
      port.consumed(body.byteLength);
      return;
    }
    this.#sentBytes += body.byteLength;
    const wanted = this.#framing.kind === "sized" ? this.#framing.bytes : null;
    if (wanted !== null && (this.#sentBytes > wanted || (end && this.#sentBytes < wanted))) {
      port.reset("protocol", "The request's body isn't as long as it says.");
      return;
    }
    if (body.byteLength > 0) {
      this.#headTimeout.refresh();
      request.write(body, () => port.consumed(body.byteLength));
    }
    if (end) request.end();
  }

  message(): void {
    this.#options.port.reset("protocol", "A WebSocket message on a plain request.");
  }

  closing(): void {
    this.message();
  }

  pull(maxBodyBytes: number): Frame | null {
    return this.#answer?.pull(this.#options.port.id, maxBodyBytes) ?? null;
  }

  release(): void {
    this.#released = true;
    clearTimeout(this.#headTimeout);
    this.#answer?.release();
    // A whole exchange gives its connection back for the next one; anything else can't.
    const whole = this.#answer?.ended === true && this.#request?.writableFinished === true;
    if (!whole) this.#request?.destroy();
  }

  #start(): ClientRequest {
    const { port, target, agent } = this.#options;
    const { address } = target;
    const sent = request({
      ...wayTo(address),
      agent,
      method: this.#head.method,
      path: this.#head.path,
      headers: this.#headers.flat(),
      maxHeaderSize: HEADERS_LIMIT_BYTES,
    });
    sent.on("response", (answer) => this.#answered(answer));
    sent.on("upgrade", (_answer, socket) => {
      socket.destroy();
      port.reset("protocol", "The service switched protocols without being asked to.");
    });
    sent.on("error", (error) => this.#failed(sent, error));
    return sent;
  }

  #answered(message: IncomingMessage): void {
    const { port } = this.#options;
    clearTimeout(this.#headTimeout);
    const head = answerHead(message, this.#head, this.#options.target);
    if (head === null) {
      port.reset("protocol", "The service's answer isn't valid HTTP.");
      return;
    }
    this.#answer = new Answer(message, head, port, (reason) =>
      port.reset("unreachable", `The service broke off its answer: ${reason}`),
    );
  }

  #failed(failed: ClientRequest, error: Error): void {
    // Once there is an answer, it knows itself whether it is whole.
    if (this.#released || this.#answer !== undefined || failed !== this.#request) return;
    const code = "code" in error && typeof error.code === "string" ? error.code : "";
    if (this.#repeatable && failed.reusedSocket && code === "ECONNRESET") {
      this.#request = this.#start();
      this.#request.end();
      return;
    }
    if (code.startsWith("HPE_"))
      this.#options.port.reset("protocol", "The service's answer isn't valid HTTP.");
    else this.#options.port.reset("unreachable", `The service can't be reached: ${code || error.message}`);
  }
}
