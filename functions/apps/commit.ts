import { Problem } from "../errors.ts";
import type { AppChange, AppStore, CommitResult } from "./app-store.ts";
import { hasWork, parseAppDocument, type AppDocument } from "./app-document.ts";
import type { AppCommand, Refusal } from "./command.ts";
import { logDecision, type Author } from "./decision-log.ts";
import { violations } from "./invariants.ts";
import { transition } from "./lifecycle.ts";

/** Makes the commit happen once however often it is asked for; see {@link AppChange.idempotencyRecord}. */
export type IdempotencyRecordOf = (next: AppDocument) => NonNullable<AppChange["idempotencyRecord"]>;

export type Applied =
  | { kind: "applied"; app: AppDocument }
  | { kind: "refused"; refusal: Refusal }
  | { kind: "repeated"; result: string; fingerprint: string }
  | { kind: "gone" };

/** Each time somebody loses somebody else has won; whoever loses more often than this meets something else. */
const ATTEMPTS_LIMIT = 50;
/** Losers that all come back at once lose again: they spread out, the wider the more often they have lost. */
const DELAY_LIMIT_MS = 1_000;

/**
 * Reads an app, carries out a command on it and writes it back, again from the start whenever somebody else wrote
 * in between. Throws `StoreUnavailable`, after which the write may have happened.
 */
export async function applyCommand(
  store: AppStore,
  name: string,
  command: AppCommand,
  author: Author,
  options: { now?: () => number; idempotencyRecord?: IdempotencyRecordOf | null; isDefault?: boolean } = {},
): Promise<Applied> {
  for (let attempt = 0; attempt < ATTEMPTS_LIMIT; attempt++) {
    const stored = await store.readApp(name);
    if (stored === null) return { kind: "gone" };
    const app = parseAppDocument(stored.body);
    const result = transition(app, command, (options.now ?? Date.now)());
    if (!result.ok) {
      logDecision(app, command, author, { refusal: result.refusal });
      return { kind: "refused", refusal: result.refusal };
    }
    const committed = await commitDocument(store, result.app, app.version, {
      author,
      details: auditDetails(command),
      isDefault: options.isDefault ?? stored.isDefault,
      idempotencyRecord: options.idempotencyRecord ?? null,
    });
    if (committed.outcome === "committed") {
      logDecision(app, command, author, { next: result.app });
      return { kind: "applied", app: result.app };
    }
    if (committed.outcome === "repeated") return { kind: "repeated", ...committed.record };
    if (committed.outcome === "host_taken") throw hostTaken(committed);
    const delayMs = Math.random() * Math.min(DELAY_LIMIT_MS, 5 * 2 ** attempt);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
  throw new Problem(
    "version_conflict",
    `App ${name} is being changed by too many others at once. Try again.`,
    {
      headers: { "retry-after": "1" },
    },
  );
}

/** Writes a document, or with `null` deletes it, provided the store still holds `expectedVersion`. */
export async function commitDocument(
  store: AppStore,
  next: AppDocument,
  expectedVersion: number,
  options: {
    author: Author;
    details: AppChange["audit"]["details"];
    isDefault: boolean;
    idempotencyRecord?: IdempotencyRecordOf | null;
    deletes?: boolean;
  },
): Promise<CommitResult> {
  const broken = violations(next);
  if (broken.length > 0) {
    throw new Error(`App ${next.name} would break its rules: ${broken.join("; ")}.`);
  }
  const deletes = options.deletes === true;
  return store.commit({
    app: next.name,
    expectedVersion,
    body: deletes ? null : JSON.stringify(next),
    hosts: deletes ? [] : next.config.hosts,
    isDefault: !deletes && options.isDefault,
    hasWork: !deletes && (next.deletingSince !== null || Object.values(next.deployments).some(hasWork)),
    idempotencyRecord: options.idempotencyRecord?.(next) ?? null,
    audit: {
      at: next.updatedAt,
      app: next.name,
      actor: options.author.actor,
      action: options.author.action,
      fromVersion: expectedVersion === 0 ? null : expectedVersion,
      toVersion: deletes ? null : next.version,
      details: options.details,
    },
  });
}

export function hostTaken(result: { host: string; app: string }): Problem {
  return new Problem(
    "host_taken",
    `Host ${result.host} belongs to app ${result.app}. Take it away there first.`,
    {
      errors: [{ field: "hosts", message: `${result.host} belongs to app ${result.app}` }],
    },
  );
}

function auditDetails(command: AppCommand): AppChange["audit"]["details"] {
  const details: AppChange["audit"]["details"] = {};
  for (const [name, value] of Object.entries(command)) {
    if (name === "type") continue;
    if (["string", "number", "boolean"].includes(typeof value) || value === null) details[name] = value;
  }
  return details;
}
