export type RailwayErrorKind =
  /** No answer came: the connection failed or the time was up. */
  | "unreachable"
  /** Too many calls, by Railway's count or by our own budget. */
  | "rate_limited"
  /** Railway made a mistake, or says that it might work later. */
  | "server"
  /** The token is missing, wrong, or of the wrong kind. */
  | "unauthorized"
  /** What the call names isn't there. */
  | "not_found"
  /** Railway understood and said no. */
  | "refused"
  /** The answer isn't what the schema promises. */
  | "malformed";

/**
 * A call of Railway's API that brought no result. The message says which call, what it was about and what to do;
 * it never holds a token or a variable's value.
 */
export class RailwayError extends Error {
  override name = "RailwayError";
  readonly kind: RailwayErrorKind;
  /** The operation's name, such as `serviceCreate`. */
  readonly call: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** Epoch milliseconds before which it won't; null: unknown. */
  readonly retryAtMs: number | null;
  /** The call changes something and may have done so all the same: look before doing it again. */
  readonly uncertain: boolean;

  constructor(
    kind: RailwayErrorKind,
    call: string,
    message: string,
    options: { retryable?: boolean; retryAtMs?: number | null; uncertain?: boolean } = {},
  ) {
    super(message);
    this.kind = kind;
    this.call = call;
    this.retryable =
      options.retryable ?? (kind === "unreachable" || kind === "rate_limited" || kind === "server");
    this.retryAtMs = options.retryAtMs ?? null;
    this.uncertain = options.uncertain ?? false;
  }
}

/** What an error in a GraphQL answer stands for. Railway gives nearly all of them one code, so the text decides. */
export function kindOfMessage(message: string): RailwayErrorKind {
  if (/not authorized|unauthorized|invalid token|forbidden|not authenticated/i.test(message))
    return "unauthorized";
  if (/rate.?limit|too many requests/i.test(message)) return "rate_limited";
  if (/not found|does not exist|doesn't exist|no longer exists/i.test(message)) return "not_found";
  const passing =
    /problem processing request|try again|temporar|timed? ?out|internal (?:server )?error|unavailable/i;
  return passing.test(message) ? "server" : "refused";
}
