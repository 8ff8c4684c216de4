import { z } from "zod";
import { AnswerTooLarge, jsonOf, textWithin } from "../answer-body.ts";
import { CallBudget } from "./budget.ts";
import { kindOfMessage, RailwayError } from "./error.ts";
import type { Operation } from "./operation.ts";
import { delay } from "./delay.ts";

export const RAILWAY_API_URL = "https://backboard.railway.com";

/** A project token sees one environment of one project; an account's or a workspace's token sees all that it may. */
export interface RailwayToken {
  kind: "project" | "account";
  value: string;
}

export interface CallOptions {
  /** What the call is about, for the message of an error: `service shop-v1`. */
  about?: string;
  /** Ends the call before its own time is up. */
  signal?: AbortSignal;
  /** Less important than others: leaves them half of the budget. */
  isAside?: boolean;
}

/** Source: slow answers of Railway's API take seconds; what takes longer is lost. */
const QUERY_TIMEOUT_MS = 10_000;
const MUTATION_TIMEOUT_MS = 20_000;
/** Delays before the retries of a safe call; jittered. */
const RETRY_DELAYS_MS = [250, 1_000];
/** A page of a build's log is the largest answer. */
const ANSWER_LIMIT_BYTES = 8 * 1024 * 1024;
/** Source: Railway allows 1,000 calls an hour on its smallest plan, and a rollout takes 25. */
export const CALLS_PER_MINUTE = 100;

const envelope = z.object({
  data: z.unknown().optional(),
  errors: z.array(z.object({ message: z.string() })).optional(),
});

/**
 * Railway's GraphQL API. A safe call (a query) is repeated when its answer is lost; any other is made once, and its
 * error says whether it may have been carried out.
 */
export class RailwayClient {
  readonly apiUrl: string;
  readonly token: RailwayToken;
  readonly #budget: CallBudget;
  readonly #patienceMs: number;
  readonly #timeoutMs: number | null;
  /** Calls that were made so far, with repetitions. */
  calls = 0;
  /** How far Railway's clock is ahead of ours, by its last answer; to a second. */
  clockAheadMs = 0;

  constructor(options: {
    token: RailwayToken;
    apiUrl?: string;
    /** What several clients of one token share. */
    budget?: CallBudget;
    /** The longest delay for a rate limit; beyond it the call fails and says when to come again. */
    patienceMs?: number;
    /** For each attempt, instead of 10 s for a query and 20 s for a mutation. */
    timeoutMs?: number;
  }) {
    this.token = options.token;
    this.apiUrl = (options.apiUrl ?? RAILWAY_API_URL).replace(/\/+$/, "");
    this.#budget = options.budget ?? new CallBudget(CALLS_PER_MINUTE);
    this.#patienceMs = options.patienceMs ?? 2_000;
    this.#timeoutMs = options.timeoutMs ?? null;
  }

  /** Throws {@link RailwayError}. */
  async call<Variables, Result>(
    operation: Operation<Variables, Result>,
    variables: Variables,
    options: CallOptions = {},
  ): Promise<Result> {
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#awaitTurn(operation.name, options);
        return await this.#attempt(operation, variables, options);
      } catch (error) {
        const delayMs = RETRY_DELAYS_MS[attempt];
        const again = error instanceof RailwayError && error.retryable && operation.safe;
        if (!again || delayMs === undefined || options.signal?.aborted === true) throw error;
        const untilMs = (error.retryAtMs ?? 0) - Date.now();
        if (untilMs > this.#patienceMs) throw error;
        await delay(Math.max(untilMs, delayMs * (0.75 + Math.random() / 2)), options.signal);
      }
    }
  }

  /** What every request to Railway carries. */
  headers(): Record<string, string> {
    return this.token.kind === "project"
      ? { "project-access-token": this.token.value }
      : { authorization: `Bearer ${this.token.value}` };
  }

  async #awaitTurn(call: string, { about, signal, isAside }: CallOptions): Promise<void> {
    const now = Date.now();
    const readyAt = this.#budget.readyAt(now, isAside === true ? 0.5 : 1);
    if (readyAt - now > this.#patienceMs) {
      const seconds = Math.ceil((readyAt - now) / 1_000);
      throw new RailwayError(
        "rate_limited",
        call,
        `${named(call, about)} has to wait ${seconds} s: the budget of Railway calls is used up.`,
        { retryAtMs: readyAt },
      );
    }
    if (readyAt > now) await delay(readyAt - now, signal);
    this.#budget.spend(Date.now());
    this.calls += 1;
  }

  async #attempt<Variables, Result>(
    operation: Operation<Variables, Result>,
    variables: Variables,
    { about, signal }: CallOptions,
  ): Promise<Result> {
    const { name, text, safe } = operation;
    const what = named(name, about);
    const timeoutMs = this.#timeoutMs ?? (safe ? QUERY_TIMEOUT_MS : MUTATION_TIMEOUT_MS);
    const timeout = AbortSignal.timeout(timeoutMs);
    let response: Response;
    let body: string;
    try {
      response = await fetch(`${this.apiUrl}/graphql/v2`, {
        method: "POST",
        redirect: "manual",
        headers: { ...this.headers(), "content-type": "application/json", accept: "application/json" },
        body: JSON.stringify({ query: text, operationName: name, variables }),
        signal: signal ? AbortSignal.any([timeout, signal]) : timeout,
      });
      body = await textWithin(response, ANSWER_LIMIT_BYTES);
    } catch (error) {
      if (error instanceof AnswerTooLarge) {
        throw new RailwayError("malformed", name, `${what} was answered with more than could be right.`, {
          uncertain: !safe,
        });
      }
      const why = timeout.aborted
        ? `wasn't answered within ${timeoutMs / 1_000} s`
        : signal?.aborted === true
          ? "was broken off before it was answered"
          : `couldn't reach ${new URL(this.apiUrl).host}`;
      throw new RailwayError("unreachable", name, `${what} ${why}.`, { uncertain: !safe });
    }
    const date = Date.parse(response.headers.get("date") ?? "");
    if (!Number.isNaN(date)) this.clockAheadMs = date - Date.now();
    const retryAtMs = this.#budget.observe(response.status, response.headers, Date.now());
    return read(operation, what, response.status, body, retryAtMs);
  }
}

function read<Result>(
  { name, safe, result }: Operation<unknown, Result>,
  what: string,
  status: number,
  body: string,
  retryAtMs: number,
): Result {
  if (status === 429) {
    throw new RailwayError("rate_limited", name, `${what} was refused for now: too many calls.`, {
      retryAtMs,
    });
  }
  const answer = envelope.safeParse(jsonOf(body)).data;
  const messages = answer?.errors?.map(({ message }) => message) ?? [];
  if (status === 401 || status === 403) {
    throw refusal("unauthorized", name, what, messages[0] ?? `status ${status}`, false);
  }
  if (messages.length > 0 && status < 500) {
    const said = messages.join("; ").slice(0, 1_000);
    const kind = kindOfMessage(said);
    throw refusal(kind, name, what, said, !safe && kind === "server");
  }
  if (status >= 500 || status === 408) {
    throw new RailwayError("server", name, `${what} was answered with status ${status}.`, {
      uncertain: !safe,
    });
  }
  if (status !== 200 || answer === undefined) {
    const message = `${what} was answered with status ${status} and no GraphQL. Check RAILWAY_API_URL.`;
    // Something between here and Railway answered: a login page, a proxy. That may pass.
    throw new RailwayError("malformed", name, message, { retryable: true, uncertain: !safe });
  }
  const parsed = result.safeParse(answer.data);
  if (!parsed.success) {
    const field = parsed.error.issues[0]?.path.join(".") ?? "data";
    const message = `${what} was answered without a usable ${field}: Railway's API has changed, or this isn't Railway.`;
    throw new RailwayError("malformed", name, message, { uncertain: !safe });
  }
  return parsed.data;
}

function refusal(
  kind: RailwayError["kind"],
  call: string,
  what: string,
  said: string,
  uncertain: boolean,
): RailwayError {
  const remedy =
    kind === "unauthorized"
      ? " Check the token: a project token goes in RAILWAY_TOKEN, an account's or workspace's in RAILWAY_API_TOKEN, " +
        "and it must be allowed to see this project."
      : "";
  return new RailwayError(
    kind,
    call,
    `${what} was refused by Railway: ${said.replace(/\.$/, "")}.${remedy}`,
    {
      uncertain,
    },
  );
}

function named(call: string, about: string | undefined): string {
  return about === undefined ? `Railway's ${call}` : `Railway's ${call} (${about})`;
}
