import { connect, type Socket } from "node:net";

/** An error reply: the command failed, the connection is fine. */
export class RedisError extends Error {
  override name = "RedisError";
}

/** A status such as `+OK`, which the REST protocol treats unlike a string of the same letters. */
export class RedisStatus {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Reply = null | number | Buffer | RedisStatus | RedisError | Reply[];

type Waiting = { resolve: (reply: Reply) => void; reject: (error: Error) => void };

/** One RESP2 connection to a Redis server. What is sent in one call runs without another call in between. */
export class RespConnection {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  #unread = Buffer.alloc(0);
  #missing = 0;
  #failure: Error | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#receive(typeof chunk === "string" ? Buffer.from(chunk) : chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("Redis closed the connection: is redis-server running?")));
  }

  static open(port: number): Promise<RespConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new RespConnection(socket));
      });
    });
  }

  get closed(): boolean {
    return this.#failure !== null;
  }

  /** Rejects when the connection is lost; a command's own error is a {@link RedisError} among the replies. */
  send(commands: readonly (readonly string[])[]): Promise<Reply[]> {
    if (this.#failure) return Promise.reject(this.#failure);
    const replies = commands.map(
      () => new Promise<Reply>((resolve, reject) => this.#waiting.push({ resolve, reject })),
    );
    this.#socket.write(commands.map(encodeCommand).join(""));
    return Promise.all(replies);
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    // A large string arrives in many chunks: parsing again before it is whole would cost the square of its size.
    while (this.#unread.length >= this.#missing && this.#waiting.length > 0) {
      const parsed = this.#parse();
      if (parsed === null) return;
      if ("missing" in parsed) {
        this.#missing = parsed.missing;
        return;
      }
      this.#unread = this.#unread.subarray(parsed.end);
      this.#missing = 0;
      this.#waiting.shift()?.resolve(parsed.reply);
      if (this.#unread.length === 0) return;
    }
  }

  #parse(): Parsed | null {
    try {
      return parseReply(this.#unread, 0);
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error("Redis sent an unreadable reply"));
      return null;
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#failure);
  }
}

function encodeCommand(command: readonly string[]): string {
  const parts = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
  return `*${command.length}\r\n${parts.join("")}`;
}

/** `missing` is how long the buffer has to be before another attempt makes sense. */
type Parsed = { reply: Reply; end: number } | { missing: number };

function parseReply(buffer: Buffer, start: number): Parsed {
  const lineEnd = buffer.indexOf("\r\n", start);
  if (lineEnd === -1) return { missing: buffer.length + 1 };
  const line = buffer.toString("utf8", start + 1, lineEnd);
  const end = lineEnd + 2;
  const kind = String.fromCharCode(buffer[start] ?? 0);
  switch (kind) {
    case "+":
      return { reply: new RedisStatus(line), end };
    case "-":
      return { reply: new RedisError(line), end };
    case ":":
      return { reply: Number(line), end };
    case "$":
      return parseBulk(buffer, Number(line), end);
    case "*":
      return parseArray(buffer, Number(line), end);
    default:
      throw new Error(`Redis sent a reply of unknown kind ${JSON.stringify(kind)}`);
  }
}

function parseBulk(buffer: Buffer, length: number, start: number): Parsed {
  if (length === -1) return { reply: null, end: start };
  const end = start + length + 2;
  if (buffer.length < end) return { missing: end };
  return { reply: buffer.subarray(start, start + length), end };
}

function parseArray(buffer: Buffer, length: number, start: number): Parsed {
  if (length === -1) return { reply: null, end: start };
  const replies: Reply[] = [];
  let end = start;
  for (let index = 0; index < length; index += 1) {
    const parsed = parseReply(buffer, end);
    if ("missing" in parsed) return parsed;
    replies.push(parsed.reply);
    end = parsed.end;
  }
  return { reply: replies, end };
}
