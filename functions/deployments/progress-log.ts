import type { AppDocument, DeploymentState } from "./app-document.ts";
import type { Progress, StepName } from "./reconcile.ts";

export interface ProgressEvent {
  /** Rises by at least one from event to event of an app; the `id` of the server-sent event. */
  sequence: number;
  deployment: string;
  /** `step`: one step's progress; `log`: a line of build output; `state`: the deployment entered a state. */
  type: "step" | "log" | "state";
  /** Epoch milliseconds. */
  at: number;
  data: Record<string, string | number | null>;
}

/** Events of one app that are kept; the oldest go first. A rollout makes about ten. */
const EVENTS_KEPT = 5_000;

/** The progress of an app's deployments, kept in the controller's own storage and told to whoever listens. */
export class ProgressLog implements Progress {
  readonly #sql: SqlStorage;
  readonly #now: () => number;
  readonly #listeners = new Set<() => void>();

  constructor(sql: SqlStorage, now: () => number) {
    this.#sql = sql;
    this.#now = now;
    sql.exec(`CREATE TABLE IF NOT EXISTS progress (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT, deployment TEXT NOT NULL, type TEXT NOT NULL,
      at INTEGER NOT NULL, data TEXT NOT NULL)`);
    sql.exec("CREATE INDEX IF NOT EXISTS progress_by_deployment ON progress (deployment, sequence)");
    // What was reported last, so that a state or a poll that says the same again isn't an event.
    sql.exec("CREATE TABLE IF NOT EXISTS reported (topic TEXT PRIMARY KEY, value TEXT NOT NULL)");
  }

  observe(app: AppDocument): void {
    for (const deployment of Object.values(app.deployments)) {
      const { id, state, stateSince, failure } = deployment;
      const topic = `state/${deployment.sequence}/${id}`;
      this.#report(topic, `${state}/${stateSince}`, id, "state", {
        state,
        reason: state === "failed" ? (failure?.reason ?? null) : null,
      });
    }
  }

  step(
    deployment: string,
    step: StepName,
    status: "started" | "waiting" | "done" | "failed",
    detail: string,
  ): void {
    // A step that is tried again and again starts once.
    const started = this.#last(`step/${deployment}`) ?? "";
    if (status === "started" && started.startsWith(`${step}/`) && !/\/(?:done|failed)\//.test(started))
      return;
    const value = `${step}/${status}/${detail}`;
    this.#report(`step/${deployment}`, value, deployment, "step", { step, status, detail });
  }

  /** Events of a deployment after `sequence`, oldest first. */
  after(deployment: string, sequence: number): ProgressEvent[] {
    return this.#sql
      .exec<{ sequence: number; type: string; at: number; data: string }>(
        "SELECT sequence, type, at, data FROM progress WHERE deployment = ? AND sequence > ? ORDER BY sequence LIMIT 500",
        deployment,
        sequence,
      )
      .toArray()
      .map((row) => ({
        sequence: row.sequence,
        deployment,
        type: row.type === "step" || row.type === "log" ? row.type : "state",
        at: row.at,
        data: JSON.parse(row.data),
      }));
  }

  /** Calls back after each new event until the returned function is called. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #last(topic: string): string | undefined {
    return this.#sql.exec<{ value: string }>("SELECT value FROM reported WHERE topic = ?", topic).toArray()[0]
      ?.value;
  }

  #report(
    topic: string,
    value: string,
    deployment: string,
    type: ProgressEvent["type"],
    data: ProgressEvent["data"] & { state?: DeploymentState },
  ): void {
    if (this.#last(topic) === value) return;
    this.#sql.exec("INSERT OR REPLACE INTO reported (topic, value) VALUES (?, ?)", topic, value);
    this.#sql.exec(
      "INSERT INTO progress (deployment, type, at, data) VALUES (?, ?, ?, ?)",
      deployment,
      type,
      this.#now(),
      JSON.stringify(data),
    );
    this.#sql.exec(
      "DELETE FROM progress WHERE sequence <= (SELECT max(sequence) FROM progress) - ?",
      EVENTS_KEPT,
    );
    for (const listener of this.#listeners) listener();
  }
}
