import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

/** The longest that an answer may take; the janitor's run and a slow store are the longest there are. */
const CALL_TIMEOUT_MS = 60_000;
const ATTEMPTS = 4;
const RETRY_FIRST_MS = 250;
/** Answers that say: not now. */
export const PASSING_STATUSES: readonly number[] = [502, 503, 504];

/** An error that the control API answered with. */
export class ControlProblem extends Error {
  override name = "ControlProblem";
  readonly status: number;
  readonly code: string;
  /** The fields of the request that it is about. */
  readonly fields: string[];

  constructor(status: number, code: string, detail: string, fields: string[] = []) {
    super(detail);
    this.status = status;
    this.code = code;
    this.fields = fields;
  }
}

/** Nobody answered, or somebody that isn't Signalbox. */
export class ControlUnreachable extends Error {
  override name = "ControlUnreachable";
}

/** A token, or what gives one that is fresh. */
export type TokenSource = string | (() => Promise<string>);

/**
 * `fetch` for the control API: sends the token, follows no redirect, and throws {@link ControlProblem} or
 * {@link ControlUnreachable} for anything but success. A call without a signal of its own has a timeout.
 */
export function controlFetch(origin: string, token: TokenSource, from?: string): typeof fetch {
  const server = from === undefined ? origin : `${origin} (from ${from})`;
  return async (url, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${typeof token === "string" ? token : await token()}`);
    let response: Response;
    try {
      response = await fetch(url, {
        redirect: "error",
        ...init,
        headers,
        signal: init.signal ?? AbortSignal.timeout(CALL_TIMEOUT_MS),
      });
    } catch (error) {
      if (init.signal?.aborted === true && !(init.signal.reason instanceof DOMException)) throw error;
      throw new ControlUnreachable(`${server} can't be reached: ${causeOf(error)}`);
    }
    if (!response.ok) throw await problemOf(server, response);
    return response;
  };
}

/**
 * The same for calls that may be repeated: while the answer is "not now", or none, they are. A mutation gets an
 * Idempotency-Key, so that a lost answer isn't a second change.
 */
export function patientFetch(once: typeof fetch, read: Reading = {}): typeof fetch {
  return async (url, init = {}) => {
    const headers = new Headers(init.headers);
    if ((init.method ?? "GET") !== "GET" && !headers.has("idempotency-key"))
      headers.set("idempotency-key", randomUUID());
    for (let attempt = 1; ; attempt++) {
      try {
        return await readToItsEnd(await once(url, { ...init, headers }), read);
      } catch (error) {
        if (!passes(error) || attempt === ATTEMPTS) throw error;
        await sleep(RETRY_FIRST_MS * 2 ** (attempt - 1));
      }
    }
  };
}

export interface Reading {
  /** For people: a line feed in a text of the server's would begin a line that looks like ours. `--json` keeps it. */
  inOneLine?: boolean;
}

/** Fields that are texts of many lines, which are shown as such. */
const TEXTS = new Set(["diff", "content"]);

/** The JSON of an answer. */
export async function jsonOf(
  response: { url: string; text: () => Promise<string> },
  { inOneLine = false }: Reading = {},
): Promise<unknown> {
  let text: string;
  try {
    text = await response.text();
  } catch (error) {
    throw new ControlUnreachable(`${response.url} broke off its answer: ${causeOf(error)}`);
  }
  try {
    return JSON.parse(text, (key, value: unknown) =>
      inOneLine && typeof value === "string" && !TEXTS.has(key) ? value.replace(/[\r\n]+/g, " ") : value,
    );
  } catch {
    throw notSignalbox(new URL(response.url).origin, 200);
  }
}

/** An answer that breaks off in its middle is to be asked for again, too. */
async function readToItsEnd(response: Response, read: Reading): Promise<Response> {
  const { status, headers, url } = response;
  const value = await jsonOf(response, read);
  const whole = Response.json(value, { status, headers });
  Object.defineProperty(whole, "url", { value: url });
  return whole;
}

function passes(error: unknown): boolean {
  return (
    error instanceof ControlUnreachable ||
    (error instanceof ControlProblem && PASSING_STATUSES.includes(error.status))
  );
}

async function problemOf(server: string, response: Response): Promise<Error> {
  const text = await response.text().catch(() => "");
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return notSignalbox(server, response.status);
  }
  const code = field(parsed, "code");
  if (code === "") return notSignalbox(server, response.status);
  const detail = field(parsed, "detail").replace(/[\r\n]+/g, " ");
  return new ControlProblem(response.status, code, detail, fieldsOf(parsed));
}

function notSignalbox(server: string, status: number): ControlUnreachable {
  return new ControlUnreachable(`${server} answers ${status}, but not as Signalbox does.`);
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const { cause } = error;
  if (cause instanceof AggregateError) return causeOf(cause.errors[0]);
  return cause instanceof Error ? cause.message || cause.name : error.message;
}

function field(value: unknown, name: string): string {
  return value !== null && typeof value === "object" && name in value ? String(Reflect.get(value, name)) : "";
}

function fieldsOf(value: unknown): string[] {
  if (value === null || typeof value !== "object" || !("errors" in value)) return [];
  return Array.isArray(value.errors) ? value.errors.map((error) => field(error, "field")) : [];
}
