import {
  isCommandType,
  type Command,
  type CommandType,
  type EventType,
  type Fields,
} from "../../functions/protocol/control.ts";
import type { NewEvent } from "./connection.ts";

/** An answer to a command; `commandId` and `projectId` are added. */
export type AnswerEvent = Fields & { type: EventType };

export interface CommandContext {
  /** Raises an event that belongs to this command. */
  answer: (event: AnswerEvent) => void;
}

export type CommandHandler = (command: Command, context: CommandContext) => Promise<void>;

/** A failure that the sender can act on. `code` is stable; people read the message. */
export class CommandError extends Error {
  override name = "CommandError";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Which commands start work, and are refused while the runner is drained or shuts down. */
const startsWork: Record<CommandType, boolean> = {
  "analyze-project": true,
  "start-build": true,
  "cancel-build": false,
  "start-dev-server": true,
  "stop-dev-server": false,
  "start-tunnel": true,
  "stop-tunnel": false,
  "fetch-logs": false,
  "runner-health-check": false,
  "delete-project-files": true,
  "read-file": false,
  "write-file": true,
  "list-files": false,
  "github-sync": true,
  "github-push": true,
};

/** Far more than people cause; beyond it the answer is `busy`. */
const RUNNING_COMMANDS_LIMIT = 256;

/** Dispatches commands to their handlers. Each command gets an `ack` and its handler's events, or an `error`. */
export class Commands {
  readonly #handlers = new Map<CommandType, CommandHandler>();
  readonly #send: (event: NewEvent) => void;
  readonly #report: (error: unknown, command: Command) => void;
  #running = 0;
  #isShuttingDown = false;
  #isDrained = false;

  constructor(send: (event: NewEvent) => void, report: (error: unknown, command: Command) => void) {
    this.#send = send;
    this.#report = report;
  }

  /** How many handlers are running. */
  get running(): number {
    return this.#running;
  }

  handle(type: CommandType, handler: CommandHandler): void {
    if (this.#handlers.has(type)) throw new Error(`Two handlers for the command ${type}.`);
    this.#handlers.set(type, handler);
  }

  /** Handles a type that has no handler of its own. */
  handleByDefault(type: CommandType, handler: CommandHandler): void {
    if (!this.#handlers.has(type)) this.#handlers.set(type, handler);
  }

  /** From now on commands that start work are refused, for good. */
  shutDown(): void {
    this.#isShuttingDown = true;
  }

  /** While an operator drains the runner, commands that start work are refused. */
  setDrained(isDrained: boolean): void {
    this.#isDrained = isDrained;
  }

  async dispatch(command: Command): Promise<void> {
    const answer = (event: AnswerEvent): void => {
      const project = command.projectId === null ? {} : { projectId: command.projectId };
      const trace = command.trace === undefined ? {} : { _sentry: command.trace };
      this.#send({ ...project, ...trace, ...event, commandId: command.id });
    };
    try {
      const handler = this.#admit(command);
      answer({ type: "ack" });
      this.#running += 1;
      try {
        await handler(command, { answer });
      } finally {
        this.#running -= 1;
      }
    } catch (error) {
      if (error instanceof CommandError) {
        answer({ type: "error", code: error.code, error: error.message });
        return;
      }
      this.#report(error, command);
      answer({
        type: "error",
        code: "internal",
        error: `The runner failed at ${command.type}; see its log.`,
      });
    }
  }

  #admit({ type }: Command): CommandHandler {
    const handler = isCommandType(type) ? this.#handlers.get(type) : undefined;
    if (!isCommandType(type) || handler === undefined)
      throw new CommandError("unknown_command", "This runner doesn't know such a command.");
    if (this.#isShuttingDown && startsWork[type])
      throw new CommandError("draining", "This runner is shutting down: it takes no new work.");
    if (this.#isDrained && startsWork[type])
      throw new CommandError("draining", "An operator drains this runner: it takes no new work.");
    if (this.#running >= RUNNING_COMMANDS_LIMIT)
      throw new CommandError("busy", "This runner has too many commands under way.");
    return handler;
  }
}
