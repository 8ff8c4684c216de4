import { errors, Redis } from "@upstash/redis/cloudflare";
import { z } from "zod";
import { STORE_TIMEOUT_MS } from "../protocol/limits.ts";
import { parseAuditEntry } from "./audit.ts";
import {
  AUDIT_ENTRIES_KEPT,
  checkResultSize,
  type AppChange,
  type AuditEntry,
  type AuditRow,
  type CommitResult,
  type LeaseResult,
  type NewIdempotencyRecord,
  type IdempotencyRecord,
  type AuditWrite,
  type Page,
  type RecordIndex,
  type RecordTags,
  type RecordWrite,
  RECORDS_EXAMINED,
  type StateStore,
  type StoredApp,
  StoreUnavailable,
  TOMBSTONE_TTL_MS,
} from "./store.ts";
import {
  ACQUIRE_LEASE,
  COMMIT,
  DELETE_RECORD,
  FIND_RECORDS,
  LIST_AUDIT,
  LIST_RECORDS,
  READ_APP,
  WRITE_AUDIT,
  RELEASE_LEASE,
  RENEW_LEASE,
  RESOLVE,
  WRITE_RECORD,
} from "./upstash-scripts.ts";

const DEFAULT_PREFIX = "signalbox:";

export interface UpstashOptions {
  url: string;
  token: string;
  /** Put before every key, so that installations can share a database. */
  prefix?: string;
  timeoutMs?: number;
}

type Command = [name: string, ...args: string[]];

const count = z.string().regex(/^\d+$/).transform(Number);
const flag = z.union([z.literal(0), z.literal(1)]).transform((value) => value === 1);

const storedApp = z
  .tuple([z.string(), count, z.string(), z.enum(["0", "1"])])
  .transform(([name, version, body, isDefault]) => ({ name, version, body, isDefault: isDefault === "1" }))
  .nullable();

const storedRecord = z
  .union([z.tuple([z.string(), z.string()]), z.tuple([z.null(), z.null()])])
  .transform(([fingerprint, result]) => (fingerprint === null ? null : { fingerprint, result }));

const commitResult = z.union([
  z
    .tuple([z.enum(["committed", "conflict"]), count])
    .transform(([outcome, version]) => ({ outcome, version })),
  z
    .tuple([z.literal("repeated"), z.string(), z.string()])
    .transform(([outcome, fingerprint, result]) => ({ outcome, record: { fingerprint, result } })),
  z
    .tuple([z.literal("host_taken"), z.string(), z.string()])
    .transform(([outcome, host, app]) => ({ outcome, host, app })),
]);

const auditWrite = z.union([
  z.tuple([z.literal("recorded")]).transform(([outcome]) => ({ outcome })),
  z
    .tuple([z.literal("repeated"), z.string(), z.string()])
    .transform(([outcome, fingerprint, result]) => ({ outcome, record: { fingerprint, result } })),
]);

const recordWrite = z.union([
  z.literal("").transform(() => ({ written: true as const })),
  count.transform((version) => ({ written: false as const, version })),
]);

const leaseResult = z
  .number()
  .transform((expiresInMs): LeaseResult =>
    expiresInMs === -1 ? { acquired: true } : { acquired: false, expiresInMs: Math.max(0, expiresInMs) },
  );

const records = z.array(z.tuple([z.string(), z.string()]).transform(([id, body]) => ({ id, body })));

const auditRows = z.array(
  z
    .tuple([z.string(), z.string()])
    .transform(([id, entry]) => ({ ...parseAuditEntry(entry), id: cursorOf(id) })),
);

/** The state store on Upstash Redis: every method is one REST request and one billed command. */
export class UpstashStore implements StateStore {
  readonly #redis: Redis;
  readonly #host: string;
  readonly #token: string;
  readonly #prefix: string;
  readonly #timeoutMs: number;

  constructor(options: UpstashOptions) {
    this.#host = hostOf(options.url);
    if (!/^\S+$/.test(options.token)) {
      throw new Error("UPSTASH_REDIS_REST_TOKEN is empty or contains white space: copy it again");
    }
    this.#token = options.token;
    this.#prefix = options.prefix ?? DEFAULT_PREFIX;
    this.#timeoutMs = options.timeoutMs ?? STORE_TIMEOUT_MS;
    this.#redis = new Redis({
      url: options.url,
      token: options.token,
      automaticDeserialization: false,
      enableTelemetry: false,
      // Base64 is for binary values; decoding it costs more CPU than all the rest of reading a large table.
      responseEncoding: false,
      // A retried write could run twice; whoever called knows whether to repeat.
      retry: { retries: 0 },
      signal: () => AbortSignal.timeout(this.#timeoutMs),
    });
  }

  resolve(host: string, appName: string | null): Promise<StoredApp | null> {
    const keys = [this.#key("hosts"), this.#key("default"), this.#key("app", appName ?? "")];
    const args = [host, appName === null ? "0" : "1", appName ?? "", this.#key("app", "")];
    return this.#run("resolve", RESOLVE, keys, args, storedApp);
  }

  readApp(name: string): Promise<StoredApp | null> {
    return this.#run("readApp", READ_APP, [this.#key("app", name), this.#key("default")], [name], storedApp);
  }

  listApps(page: Page): Promise<string[]> {
    const command: Command = [
      "ZRANGEBYLEX",
      this.#key("apps"),
      lowerBound(page),
      "+",
      "LIMIT",
      "0",
      String(page.limit),
    ];
    return this.#send("listApps", command, z.array(z.string()));
  }

  async commit(change: AppChange): Promise<CommitResult> {
    checkResultSize(change.idempotencyRecord);
    const { app, body, idempotencyRecord } = change;
    const keys = [
      this.#key("app", app),
      this.#key("app-hosts", app),
      this.#key("hosts"),
      this.#key("default"),
      this.#key("apps"),
      this.#key("work"),
      this.#key("audit"),
      this.#key("operation", idempotencyRecord?.key ?? ""),
      this.#key("app-tombstone", app),
    ];
    const args = [
      app,
      String(change.expectedVersion),
      String(change.expectedVersion + 1),
      body === null ? "1" : "0",
      body ?? "",
      change.isDefault ? "1" : "0",
      change.hasWork ? "1" : "0",
      ...recorded(change.audit, idempotencyRecord),
      ...change.hosts,
    ];
    return this.#run("commit", COMMIT, keys, args, commitResult);
  }

  async listWork(): Promise<string[]> {
    const names = await this.#send("listWork", ["SMEMBERS", this.#key("work")], z.array(z.string()));
    return names.sort();
  }

  readIdempotencyRecord(key: string): Promise<IdempotencyRecord | null> {
    const command: Command = ["HMGET", this.#key("operation", key), "fingerprint", "result"];
    return this.#send("readIdempotencyRecord", command, storedRecord);
  }

  async writeAudit(audit: AuditEntry, idempotencyRecord: NewIdempotencyRecord | null): Promise<AuditWrite> {
    checkResultSize(idempotencyRecord);
    const keys = [this.#key("audit"), this.#key("operation", idempotencyRecord?.key ?? "")];
    return this.#run("writeAudit", WRITE_AUDIT, keys, recorded(audit, idempotencyRecord), auditWrite);
  }

  acquireLease(name: string, token: string, ttlMs: number): Promise<LeaseResult> {
    const keys = [this.#key("lease", name)];
    return this.#run("acquireLease", ACQUIRE_LEASE, keys, [token, ttl(ttlMs)], leaseResult);
  }

  renewLease(name: string, token: string, ttlMs: number): Promise<boolean> {
    return this.#run("renewLease", RENEW_LEASE, [this.#key("lease", name)], [token, ttl(ttlMs)], flag);
  }

  releaseLease(name: string, token: string): Promise<boolean> {
    return this.#run("releaseLease", RELEASE_LEASE, [this.#key("lease", name)], [token], flag);
  }

  readRecord(kind: string, id: string): Promise<string | null> {
    return this.#send("readRecord", ["HGET", this.#key("records", kind), id], z.string().nullable());
  }

  listRecords(kind: string, page: Page): Promise<{ id: string; body: string }[]> {
    const args = [lowerBound(page), String(page.limit)];
    return this.#run("listRecords", LIST_RECORDS, this.#recordKeys(kind), args, records);
  }

  writeRecord(
    kind: string,
    id: string,
    body: string,
    version?: number,
    index?: RecordIndex,
  ): Promise<RecordWrite> {
    const args = [id, body, version === undefined ? "" : String(version), ...this.#indexPrefixes(kind)];
    if (index) args.push(String(index.rank), ...index.tags);
    return this.#run("writeRecord", WRITE_RECORD, this.#changedRecordKeys(kind, id), args, recordWrite);
  }

  deleteRecord(kind: string, id: string, version?: number): Promise<boolean> {
    const expiry = ttl(TOMBSTONE_TTL_MS);
    const args = [id, version === undefined ? "" : String(version), expiry, ...this.#indexPrefixes(kind)];
    return this.#run("deleteRecord", DELETE_RECORD, this.#changedRecordKeys(kind, id), args, flag);
  }

  findRecords(kind: string, tags: RecordTags, limit: number): Promise<{ id: string; body: string }[]> {
    const [recordTags, tagged] = this.#indexPrefixes(kind);
    const keys = [
      this.#key("records", kind),
      this.#key("record-versions", kind),
      this.#key("record-indexed", kind),
      ...tags.map((tag) => tagged + tag),
    ];
    const args = [String(limit), String(RECORDS_EXAMINED), recordTags, tagged];
    return this.#run("findRecords", FIND_RECORDS, keys, args, records);
  }

  async listAudit(query: { app: string | null; limit: number; before: string | null }): Promise<AuditRow[]> {
    const newest = query.before === null ? "+" : streamBound(query.before);
    if (newest === null) return [];
    const args = [newest, String(query.limit), query.app === null ? "0" : "1", JSON.stringify(query.app)];
    return this.#run("listAudit", LIST_AUDIT, [this.#key("audit")], args, auditRows);
  }

  #key(family: string, name?: string): string {
    return `${this.#prefix}${family}${name === undefined ? "" : `:${name}`}`;
  }

  #recordKeys(kind: string): string[] {
    return [this.#key("record-ids", kind), this.#key("records", kind)];
  }

  #changedRecordKeys(kind: string, id: string): string[] {
    // Encoded, so that no kind and id share a name with another two.
    const tombstone = this.#key("record-tombstone", `${encodeURIComponent(kind)}:${id}`);
    const versions = this.#key("record-versions", kind);
    return [...this.#recordKeys(kind), versions, tombstone, this.#key("record-indexed", kind)];
  }

  /** Of the set of a record's tags, and of the set of a tag's records. */
  #indexPrefixes(kind: string): [recordTags: string, tagged: string] {
    const encoded = `${encodeURIComponent(kind)}:`;
    return [this.#key("record-tags", encoded), this.#key("record-tag", encoded)];
  }

  #run<T>(method: string, script: string, keys: string[], args: string[], answer: z.ZodType<T>): Promise<T> {
    return this.#send(method, ["EVAL", script, String(keys.length), ...keys, ...args], answer);
  }

  async #send<T>(method: string, command: Command, answer: z.ZodType<T>): Promise<T> {
    try {
      return answer.parse(await this.#redis.exec<unknown>(command));
    } catch (error) {
      // The SDK's errors carry the whole command, and so the document: none of that may reach a log.
      const reason = this.#explain(error).replaceAll(this.#token, "(token)");
      throw new StoreUnavailable(`State store: ${method} failed: Upstash at ${this.#host} ${reason}`);
    }
  }

  #explain(error: unknown): string {
    if (error instanceof z.ZodError || error instanceof errors.UpstashJSONParseError) {
      return "answered with something that isn't its protocol: check UPSTASH_REDIS_REST_URL";
    }
    if (error instanceof errors.UpstashError) return explainRefusal(error);
    if (error instanceof Error && (error.name === "TimeoutError" || error.name === "AbortError")) {
      return `didn't answer within ${this.#timeoutMs} ms: check UPSTASH_REDIS_REST_URL and its region`;
    }
    return `can't be reached (${describe(error)}): check UPSTASH_REDIS_REST_URL and Upstash's status`;
  }
}

/** The SDK keeps the server's words and drops the HTTP status, so the words have to do. */
function explainRefusal(error: Error): string {
  const words = (error.message.split(", command was:")[0] ?? "").slice(0, 200);
  if (/^(WRONGPASS|NOAUTH|unauthori[sz]ed)/i.test(words)) {
    return "refused the token: check UPSTASH_REDIS_REST_TOKEN";
  }
  if (words.startsWith("NOPERM")) {
    return "doesn't let this token write: UPSTASH_REDIS_REST_TOKEN must not be the read-only one";
  }
  if (/max (daily )?requests? (limit|size)/i.test(words))
    return `refused (${words}): check the database's plan`;
  return `answered with an error (${words}): check Upstash's status`;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const cause = error.cause;
  const code = cause instanceof Error && "code" in cause ? `: ${String(cause.code)}` : "";
  return `${error.message}${code}`.slice(0, 200);
}

function hostOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new Error("UPSTASH_REDIS_REST_URL is not an http(s) URL: copy the REST URL, not the redis:// one");
  }
  return parsed.host;
}

function lowerBound(page: Page): string {
  return page.after === null ? "-" : `(${page.after}`;
}

/** Redis takes whole milliseconds and deletes on zero. */
function ttl(milliseconds: number): string {
  return String(Math.max(1, Math.ceil(milliseconds)));
}

/** The arguments of a script that writes an audit entry and an idempotency record. */
function recorded(audit: AuditEntry, idempotencyRecord: NewIdempotencyRecord | null): string[] {
  return [
    JSON.stringify(audit.app),
    JSON.stringify(audit),
    String(AUDIT_ENTRIES_KEPT),
    idempotencyRecord ? ttl(idempotencyRecord.ttlSeconds * 1000) : "",
    idempotencyRecord?.fingerprint ?? "",
    idempotencyRecord?.result ?? "",
  ];
}

/** Stream ids (`1700000000000-7`) padded so that they sort as text, too. */
function cursorOf(streamId: string): string {
  const [milliseconds = "", sequence = ""] = streamId.split("-");
  return `${milliseconds.padStart(15, "0")}-${sequence.padStart(10, "0")}`;
}

/** Null for what was never one of our cursors: nothing is older than that. */
function streamBound(cursor: string): string | null {
  const [, milliseconds, sequence] = /^0*(\d{1,15})-0*(\d{1,10})$/.exec(cursor) ?? [];
  return milliseconds === undefined || sequence === undefined ? null : `(${milliseconds}-${sequence}`;
}
