import { isCommandType, type CommandType, type EventType, type RunnerEvent } from "../protocol/control.ts";

/** What each command ends with, apart from `error`. */
const results: Record<CommandType, readonly EventType[]> = {
  "analyze-project": ["analysis-complete"],
  "start-build": ["build-completed", "build-failed", "build-cancelled"],
  "cancel-build": ["build-cancelled"],
  "start-dev-server": ["port-detected", "dev-server-error", "process-exited"],
  "stop-dev-server": ["process-exited"],
  "start-tunnel": ["tunnel-created"],
  "stop-tunnel": ["tunnel-closed"],
  "fetch-logs": ["log-chunk"],
  "runner-health-check": ["runner-status"],
  "delete-project-files": ["files-deleted"],
  "read-file": ["file-content"],
  "write-file": ["file-written"],
  "list-files": ["file-list"],
  // SentryVibe has no event of their own for these two; what they end with is the project as it then is.
  "github-sync": ["project-metadata"],
  "github-push": ["project-metadata"],
};

export type CommandOutcome = { kind: "result"; event: RunnerEvent } | { kind: "timeout" } | { kind: "lost" };

/** Callers that wait for a command's result. They are requests under way, so the hub stays awake for them. */
export class CommandWaits {
  readonly #waiting = new Map<string, { type: string; finish: (outcome: CommandOutcome) => void }>();

  wait(commandId: string, type: string, timeoutMs: number): Promise<CommandOutcome> {
    const { promise, resolve } = Promise.withResolvers<CommandOutcome>();
    const timer = setTimeout(() => finish({ kind: "timeout" }), timeoutMs);
    const entry = {
      type,
      finish: (outcome: CommandOutcome): void => {
        clearTimeout(timer);
        if (this.#waiting.get(commandId) === entry) this.#waiting.delete(commandId);
        resolve(outcome);
      },
    };
    const { finish } = entry;
    this.#waiting.set(commandId, entry);
    return promise;
  }

  event(event: RunnerEvent): void {
    const waiting = event.commandId === undefined ? undefined : this.#waiting.get(event.commandId);
    if (waiting && isResult(waiting.type, event.type)) waiting.finish({ kind: "result", event });
  }

  /** The connection that they were sent on is gone. */
  lose(): void {
    for (const { finish } of this.#waiting.values()) finish({ kind: "lost" });
  }
}

function isResult(command: string, event: EventType): boolean {
  if (event === "error") return true;
  return isCommandType(command) ? results[command].includes(event) : event !== "ack";
}
