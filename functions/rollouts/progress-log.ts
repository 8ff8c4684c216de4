import type { BuildLog } from "../providers/provider.ts";
import type { AppDocument, Deployment, DeploymentState } from "../apps/app-document.ts";
import type { Progress, StepName, StepStatus } from "./progress.ts";

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

/** The newest events that an app keeps. A rollout makes about ten, and one for each line of its build. */
const EVENTS_KEPT = 20_000;

/** The progress of an app's deployments, kept in the controller's own storage and told to whoever listens. */
export class ProgressLog implements Progress {
  readonly #sql: SqlStorage;
  readonly #now: () => number;
  readonly #listeners = new Set<() => void>();
  #seen = { createdAt: 0, version: 0 };

  constructor(sql: SqlStorage, now: () => number) {
    this.#sql = sql;
    this.#now = now;
    sql.exec(`CREATE TABLE IF NOT EXISTS progress (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT, deployment TEXT NOT NULL, type TEXT NOT NULL,
      at INTEGER NOT NULL, data TEXT NOT NULL)`);
    sql.exec("CREATE INDEX IF NOT EXISTS progress_by_deployment ON progress (deployment, sequence)");
    // What was reported last: a state or a poll that says the same again is no event.
    sql.exec("CREATE TABLE IF NOT EXISTS reported (topic TEXT PRIMARY KEY, value TEXT NOT NULL)");
  }

  observe(app: AppDocument): void {
    const { createdAt, version } = app;
    // Reads and commits overlap: an older document must not report a state that is over.
    if (createdAt < this.#seen.createdAt) return;
    if (createdAt === this.#seen.createdAt && version < this.#seen.version) return;
    const isNew = createdAt !== this.#seen.createdAt || version !== this.#seen.version;
    this.#seen = { createdAt, version };
    for (const deployment of Object.values(app.deployments)) {
      const { id, state, stateSince, failure } = deployment;
      const topic = stateTopic(app, deployment);
      if (this.#last(topic) === undefined) this.#begin(app, id);
      this.#report(topic, `${state}/${stateSince}`, id, "state", {
        state,
        reason: state === "failed" ? (failure?.reason ?? null) : null,
      });
    }
    // Any change may be what a stream waits for to end, though not every change is an event.
    if (isNew) this.#tell();
  }

  step(deployment: string, step: StepName, status: StepStatus, detail: string): void {
    // A step that is tried again and again starts once.
    const last = this.#last(stepTopic(deployment)) ?? "";
    if (status === "started" && (last.startsWith(`${step}/started/`) || last.startsWith(`${step}/waiting/`)))
      return;
    const value = `${step}/${status}/${detail}`;
    this.#report(stepTopic(deployment), value, deployment, "step", { step, status, detail });
  }

  /** When a step that is over began; null: it isn't known any more. */
  startOf(deployment: string, step: StepName): number | null {
    const rows = this.#sql.exec<{ at: number }>(
      `SELECT at FROM progress WHERE deployment = ? AND type = 'step' AND data ->> 'step' = ?
       AND data ->> 'status' = 'started' ORDER BY sequence DESC LIMIT 1`,
      deployment,
      step,
    );
    return rows.toArray()[0]?.at ?? null;
  }

  buildLog(deployment: string): BuildLog {
    const topic = logTopic(deployment);
    return {
      cursor: Number(this.#last(topic) ?? 0),
      append: (lines, cursor) => {
        for (const line of lines) this.#add(deployment, "log", { line });
        this.#remember(topic, String(cursor));
        this.#tell();
      },
    };
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

  /** Calls back after each event and each change of the app until the returned function is called. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** An id can come back in another deployment, or in another app of the same name: their past isn't its own. */
  #begin(app: AppDocument, id: string): void {
    this.#sql.exec("DELETE FROM progress WHERE deployment = ?", id);
    const topics = Object.values(app.deployments).flatMap((deployment) => [
      stateTopic(app, deployment),
      ...(deployment.id === id ? [] : [stepTopic(deployment.id), logTopic(deployment.id)]),
    ]);
    this.#sql.exec(
      "DELETE FROM reported WHERE topic NOT IN (SELECT value FROM json_each(?))",
      JSON.stringify(topics),
    );
  }

  #last(topic: string): string | undefined {
    return this.#sql.exec<{ value: string }>("SELECT value FROM reported WHERE topic = ?", topic).toArray()[0]
      ?.value;
  }

  #remember(topic: string, value: string): void {
    this.#sql.exec("INSERT OR REPLACE INTO reported (topic, value) VALUES (?, ?)", topic, value);
  }

  #add(deployment: string, type: ProgressEvent["type"], data: ProgressEvent["data"]): void {
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
  }

  #report(
    topic: string,
    value: string,
    deployment: string,
    type: ProgressEvent["type"],
    data: ProgressEvent["data"] & { state?: DeploymentState },
  ): void {
    if (this.#last(topic) === value) return;
    this.#remember(topic, value);
    this.#add(deployment, type, data);
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function stateTopic(app: AppDocument, deployment: Deployment): string {
  return `state/${app.createdAt}/${deployment.sequence}/${deployment.id}`;
}

function logTopic(deployment: string): string {
  return `log/${deployment}`;
}

function stepTopic(id: string): string {
  return `step/${id}`;
}
