import { EventSourceParserStream } from "eventsource-parser/stream";
import { signInKey, signedOut } from "./sign-in.ts";

const PREFIX = "/_signalbox/api/v1";
/** An answer that takes longer counts as lost. Calls that wait for a runner say so themselves. */
const CALL_LIMIT_MS = 60_000;
/** The server sends something every 15 s. */
const SILENCE_LIMIT_MS = 40_000;
const RETRY_FIRST_MS = 500;
const RETRY_LIMIT_MS = 15_000;

/** What the control API refused. `unreachable` is ours: no answer came. */
export class ApiProblem extends Error {
  readonly code: string;
  readonly status: number;
  readonly fields: { field: string; message: string }[];

  constructor(code: string, message: string, status: number, fields: ApiProblem["fields"] = []) {
    super(message);
    this.code = code;
    this.status = status;
    this.fields = fields;
  }
}

export interface CallOptions {
  signal?: AbortSignal;
  /** A repeated call with the same key happens once. */
  idempotencyKey?: string;
}

/** Calls the control API as the signed-in operator. `body` goes as JSON, a Blob as it is. Throws {@link ApiProblem}. */
export async function call<T>(
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  { signal, idempotencyKey }: CallOptions = {},
): Promise<T> {
  const headers: Record<string, string> = {};
  if (idempotencyKey !== undefined) headers["idempotency-key"] = idempotencyKey;
  const init: RequestInit = { method, headers };
  if (body instanceof Blob) init.body = body;
  else if (body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const limit = AbortSignal.timeout(CALL_LIMIT_MS);
  init.signal = signal === undefined ? limit : AbortSignal.any([signal, limit]);
  const answer = await send(path, init);
  if (answer.status === 204) return undefined as T;
  const text = await answer.text().catch((error: unknown) => {
    throw signal?.aborted === true ? error : unreachable();
  });
  if (text === "") return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw unreachable();
  }
}

/** Like {@link call}, but gives the answer as it came. */
export async function callRaw(path: string, init: RequestInit = {}): Promise<Response> {
  return send(path, init);
}

async function send(path: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    const headers = { ...(init.headers as Record<string, string>), "x-signalbox-key": signInKey() ?? "" };
    answer = await fetch(PREFIX + path, { ...init, headers, cache: "no-store" });
  } catch (error) {
    if (init.signal?.aborted === true && (init.signal.reason as Error).name === "AbortError") throw error;
    throw unreachable();
  }
  if (answer.ok) return answer;
  if (answer.status === 401) signedOut();
  throw await problemOf(answer);
}

async function problemOf(answer: Response): Promise<ApiProblem> {
  const text = await answer.text().catch(() => "");
  try {
    const { code, detail, errors } = JSON.parse(text) as {
      code: string;
      detail: string;
      errors?: ApiProblem["fields"];
    };
    return new ApiProblem(code, detail, answer.status, errors);
  } catch {
    return new ApiProblem("bad_answer", `Signalbox answers ${answer.status}.`, answer.status);
  }
}

function unreachable(): ApiProblem {
  return new ApiProblem(
    "unreachable",
    "Signalbox can't be reached. Nothing may have happened: look, and try again.",
    0,
  );
}

export interface ServerEvent {
  id: string | undefined;
  event: string;
  data: string;
}

export interface FollowOptions {
  signal: AbortSignal;
  /** Events up to this one are known. */
  after?: string;
  /** Called when the stream is there, and when it breaks; with a problem where Signalbox answered, and refused it. */
  onState?: (state: "open" | "broken", problem: ApiProblem | null) => void;
}

/**
 * Reads a stream of the control API until it says `end` or answers 204, or `signal` aborts. It comes back after a break
 * from where it was. Rejects with an {@link ApiProblem} that no retry mends.
 */
export async function follow(
  path: string,
  onEvent: (event: ServerEvent) => void,
  { signal, after, onState }: FollowOptions,
): Promise<void> {
  let last = after;
  let delayMs = RETRY_FIRST_MS;
  while (!signal.aborted) {
    const attempt = new AbortController();
    const stop = (): void => attempt.abort();
    signal.addEventListener("abort", stop);
    let problem: ApiProblem | null = null;
    let silence = setTimeout(stop, SILENCE_LIMIT_MS);
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (last !== undefined) headers["last-event-id"] = last;
      const answer = await send(path, { headers, signal: attempt.signal });
      if (answer.status === 204 || answer.body === null) return;
      onState?.("open", null);
      const bytes = answer.body.pipeThrough(
        new TransformStream<Uint8Array, BufferSource>({
          transform(chunk, controller) {
            clearTimeout(silence);
            silence = setTimeout(stop, SILENCE_LIMIT_MS);
            controller.enqueue(chunk as Uint8Array<ArrayBuffer>);
          },
        }),
      );
      const events = bytes.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
      for await (const { id, event, data } of events as unknown as AsyncIterable<ServerEvent>) {
        delayMs = RETRY_FIRST_MS;
        if (id !== undefined) last = id;
        if (event === "end") return;
        onEvent({ id, event: event ?? "message", data });
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiProblem) {
        if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
        if (error.status !== 0) problem = error;
      }
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
    }
    if (signal.aborted) return;
    onState?.("broken", problem);
    await pause(delayMs * (0.5 + Math.random() / 2), signal);
    delayMs = Math.min(RETRY_LIMIT_MS, delayMs * 2);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      globalThis.removeEventListener("online", done);
      resolve();
    }
    signal.addEventListener("abort", done);
    globalThis.addEventListener("online", done);
  });
}
