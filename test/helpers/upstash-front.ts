import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { RedisError, RedisStatus, type Reply, RespConnection } from "./resp.ts";

/** Bytes. What Upstash accepts per request on a pay-as-you-go database. */
const MAX_REQUEST_BYTES = 10 * 1024 * 1024;

/** These change the connection that all requests share; Upstash refuses them over REST, too. */
const REFUSED_COMMANDS = new Set(
  (
    "MULTI EXEC DISCARD WATCH UNWATCH SELECT AUTH HELLO RESET QUIT CLIENT MONITOR SUBSCRIBE PSUBSCRIBE " +
    "SSUBSCRIBE SYNC PSYNC SHUTDOWN BLPOP BRPOP BLMOVE BLMPOP BRPOPLPUSH BZPOPMIN BZPOPMAX BZMPOP WAIT"
  ).split(" "),
);

/** ok: answers. refuse: nobody listens, open connections are cut. hang: accepts and never answers. */
export type FrontMode = "ok" | "refuse" | "hang";

/**
 * Awaited before a command runs, and again after it ran but before it is answered. A hook that throws cuts the
 * connection, so that a command can run and its answer be lost.
 */
export type CommandHook = (command: string[], phase: "before" | "after") => Promise<void> | void;

export interface UpstashFront {
  readonly url: string;
  readonly token: string;
  /** How many commands have been sent to Redis, as Upstash would bill them. */
  commands(): number;
  setMode(mode: FrontMode): Promise<void>;
  /** Returns what takes the hook off again. */
  onCommand(hook: CommandHook): () => void;
  close(): Promise<void>;
}

export interface FrontOptions {
  redisPort: number;
  token: string;
  port?: number;
}

type Answer = { result: unknown } | { error: string };

class BadRequest extends Error {
  override name = "BadRequest";
}

/** The REST protocol of Upstash Redis before a real redis-server: `/`, `/pipeline`, `/multi-exec`, `/GET/key`. */
export async function startUpstashFront(options: FrontOptions): Promise<UpstashFront> {
  const hooks = new Set<CommandHook>();
  const redis = new SharedConnection(options.redisPort);
  let mode: FrontMode = "ok";
  let commandCount = 0;

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  // The client decides when to give up: these would answer a hanging request with a status of their own.
  server.requestTimeout = 0;
  server.headersTimeout = 0;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (mode === "hang") return;
    const [status, body] = await handle(request);
    if (response.destroyed) return;
    // The mode can have changed while the command ran: that is how an answer gets lost.
    if (mode !== "ok") return;
    const bytes = Buffer.from(JSON.stringify(body));
    response.writeHead(status, { "content-type": "application/json", "content-length": bytes.length });
    response.end(request.method === "HEAD" ? undefined : bytes);
  }

  async function handle(request: IncomingMessage): Promise<[status: number, body: unknown]> {
    const url = new URL(request.url ?? "/", "http://front");
    if (!["GET", "HEAD", "POST", "PUT"].includes(request.method ?? "")) {
      return [405, { error: "ERR method not allowed" }];
    }
    if (!authorized(request, url, options.token)) return [401, { error: "Unauthorized" }];
    const base64 = request.headers["upstash-encoding"] === "base64";
    try {
      const body = await readBody(request);
      if (url.pathname === "/pipeline") {
        const answers = await pipeline(parseBatch(body));
        return [200, answers.map((reply) => toAnswer(reply, base64))];
      }
      if (url.pathname === "/multi-exec") {
        const answers = await transaction(parseBatch(body));
        if (answers instanceof RedisError) return [400, { error: answers.message }];
        return [200, answers.map((reply) => toAnswer(reply, base64))];
      }
      const command = url.pathname === "/" ? parseCommand(parseJson(body)) : parsePath(url, body);
      const [reply = null] = await pipeline([command]);
      return [reply instanceof RedisError ? 400 : 200, toAnswer(reply, base64)];
    } catch (error) {
      if (error instanceof BadRequest) return [400, { error: error.message }];
      throw error;
    }
  }

  async function pipeline(commands: string[][]): Promise<Reply[]> {
    const replies: Reply[] = [];
    for (const command of commands) {
      await runHooks(command, "before");
      commandCount += 1;
      const [reply = null] = await redis.send([command]);
      await runHooks(command, "after");
      replies.push(reply);
    }
    return replies;
  }

  async function transaction(commands: string[][]): Promise<Reply[] | RedisError> {
    for (const command of commands) await runHooks(command, "before");
    commandCount += commands.length;
    const replies = await redis.send([["MULTI"], ...commands, ["EXEC"]]);
    for (const command of commands) await runHooks(command, "after");
    const executed = replies.at(-1);
    if (Array.isArray(executed)) return executed;
    return executed instanceof RedisError ? executed : new RedisError("ERR transaction was discarded");
  }

  async function runHooks(command: string[], phase: "before" | "after"): Promise<void> {
    for (const hook of hooks) await hook(command, phase);
  }

  async function listen(port: number): Promise<number> {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("a TCP server has no port");
    return address.port;
  }

  async function stopListening(): Promise<void> {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  }

  const port = await listen(options.port ?? 0);

  return {
    url: `http://127.0.0.1:${port}`,
    token: options.token,
    commands: () => commandCount,
    async setMode(next) {
      if (next === mode) return;
      mode = next;
      if (next === "refuse") return await stopListening();
      // Requests left hanging would otherwise hold their client's connection for ever.
      if (next === "ok") server.closeAllConnections();
      if (!server.listening) await listen(port);
    },
    onCommand(hook) {
      hooks.add(hook);
      return () => hooks.delete(hook);
    },
    async close() {
      await stopListening();
      redis.close();
    },
  };
}

/** Opens on first use and again after Redis was restarted. */
class SharedConnection {
  readonly #port: number;
  #connection: Promise<RespConnection> | null = null;

  constructor(port: number) {
    this.#port = port;
  }

  async send(commands: string[][]): Promise<Reply[]> {
    const connection = await this.#open();
    return await connection.send(commands);
  }

  async #open(): Promise<RespConnection> {
    const current = this.#connection;
    if (current) {
      const connection = await current.catch(() => null);
      if (connection && !connection.closed) return connection;
      if (this.#connection === current) this.#connection = null;
    }
    this.#connection ??= RespConnection.open(this.#port);
    return await this.#connection;
  }

  close(): void {
    void this.#connection?.then(
      (connection) => connection.close(),
      () => null,
    );
  }
}

function authorized(request: IncomingMessage, url: URL, token: string): boolean {
  const { authorization } = request.headers;
  return authorization === `Bearer ${token}` || (!authorization && url.searchParams.get("_token") === token);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > MAX_REQUEST_BYTES) {
      throw new BadRequest(`ERR max request size exceeded. Limit: ${MAX_REQUEST_BYTES} bytes`);
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadRequest("ERR failed to parse the request body as JSON");
  }
}

function parseBatch(body: string): string[][] {
  const batch = parseJson(body);
  if (!Array.isArray(batch) || batch.length === 0) throw new BadRequest("ERR empty pipeline request");
  return batch.map(parseCommand);
}

function parseCommand(value: unknown): string[] {
  if (!Array.isArray(value)) throw new BadRequest("ERR the command must be a JSON array");
  const command = value.map((part: unknown) => {
    if (typeof part === "string" || typeof part === "number" || typeof part === "boolean")
      return String(part);
    throw new BadRequest("ERR the parts of a command must be strings, numbers or booleans");
  });
  return checkCommand(command);
}

/** `POST /set/key?EX=100` with a body is `SET key BODY EX 100`. */
function parsePath(url: URL, body: string): string[] {
  const parts = url.pathname.slice(1).split("/").map(decodePart);
  const options = [...url.searchParams].filter(([name]) => name !== "_token").flat();
  return checkCommand([...parts, ...(body === "" ? [] : [body]), ...options.filter((part) => part !== "")]);
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new BadRequest("ERR malformed percent encoding in the path");
  }
}

function checkCommand(command: string[]): string[] {
  const name = command[0]?.toUpperCase() ?? "";
  if (name === "") throw new BadRequest("ERR empty command");
  if (REFUSED_COMMANDS.has(name)) throw new BadRequest(`ERR Command is not available: '${name}'`);
  return command;
}

function toAnswer(reply: Reply, base64: boolean): Answer {
  return reply instanceof RedisError ? { error: reply.message } : { result: toJson(reply, base64) };
}

/** With base64 every string is encoded, but for "OK". */
function toJson(reply: Reply, base64: boolean): unknown {
  if (reply instanceof RedisError) return reply.message;
  if (reply instanceof RedisStatus) return encodeText(Buffer.from(reply.text), base64);
  if (Buffer.isBuffer(reply)) return encodeText(reply, base64);
  return Array.isArray(reply) ? reply.map((part) => toJson(part, base64)) : reply;
}

function encodeText(bytes: Buffer, base64: boolean): string {
  const text = bytes.toString("utf8");
  return base64 && text !== "OK" ? bytes.toString("base64") : text;
}
