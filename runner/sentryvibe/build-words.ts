import type { BuildEvent, BuildFact, BuildStep } from "../../functions/protocol/builds.ts";
import type { EventType, Fields } from "../../functions/protocol/control.ts";

/** An event in SentryVibe's words; what it belongs to is added by whoever sends it. */
export type Words = Fields & { type: EventType };

/** What a build's events say of its project. */
export interface ToldProject {
  slug: string;
  name: string;
  path: string;
  runCommand: string | null;
}

export interface BuildContext {
  /** The start-build command's id; a build that no command began has its own. */
  commandId: string;
  project: () => ToldProject | null;
  /** Where people see the port; null where nobody said so. */
  previewUrl: string | null;
}

const STAGES: Record<BuildStep, string> = { agent: "generating", install: "applying", start: "finalizing" };
const STEP_MESSAGES: Record<BuildStep, string> = {
  agent: "The agent works",
  install: "Installing what the project depends on",
  start: "Starting the dev server",
};
/** Source: SentryVibe's page, which shows tools by these names. Others show by their title. */
const TOOLS: Record<string, string> = {
  read: "Read",
  edit: "Edit",
  search: "Grep",
  execute: "Bash",
  fetch: "WebFetch",
};
/** SentryVibe's page shows the calls of this tool as the build's todos. */
const TODO_TOOL = "TodoWrite";
const SUMMARY_LIMIT = 4_000;

interface Todo {
  id: string;
  title: string;
  status: string;
}

/**
 * Puts the events of one build, given in order, into SentryVibe's words. What it remembers follows from the events alone, so a
 * restarted runner gives it all of them again.
 */
export class BuildWords {
  readonly #context: BuildContext;
  readonly #tools = new Set<string>();
  #todos: Todo[] = [];
  /** What the agent said since it last did something. */
  #said = "";
  #framework: string | null = null;

  constructor(context: BuildContext) {
    this.#context = context;
  }

  of(event: BuildEvent): Words[] {
    if (event.type === "tool" || event.type === "plan") this.#said = "";
    switch (event.type) {
      case "state":
        return this.#state(event);
      case "step":
        return this.#step(event);
      case "message":
        return event.from === "user" ? [] : this.#message(event.text, event.seq);
      case "thought":
        return text("reasoning", `thought-${event.seq}`, event.text);
      case "plan":
        return this.#plan(event.entries, event.seq);
      case "tool":
        return this.#tool(event);
      case "question":
        return [progress("generating", `Waits for an answer: ${event.title}`)];
      case "log":
        return [{ type: "log-chunk", stream: "stdout", data: `${event.text}\n`, cursor: String(event.seq) }];
      case "repair": {
        const { attempt, limit: maxAttempts, error: errorMessage } = event;
        return [{ type: "autofix-started", errorType: "startup", errorMessage, attempt, maxAttempts }];
      }
      case "preview":
        return this.#preview(event);
      // SentryVibe has no word for these.
      case "answer":
      case "usage":
      case "other":
        return [];
      default:
        // A runner of a later version wrote this before it was downgraded.
        return [];
    }
  }

  #state({ state, reason = "" }: BuildFact & { type: "state" }): Words[] {
    switch (state) {
      case "queued":
        return [];
      case "running":
        return [
          stream({ type: "start", messageId: this.#context.commandId }),
          progress("planning", "The build begins"),
        ];
      case "waiting":
        return [];
      case "completed": {
        const summary = this.#said.slice(-SUMMARY_LIMIT);
        const todos = this.#todos.map((todo) => ({
          ...todo,
          status: todo.status === "completed" ? "completed" : "skipped",
        }));
        const framework = this.#framework === null ? {} : { detectedFramework: this.#framework };
        return [
          ...ended,
          ...(summary === "" ? [] : [{ type: "build-summary" as const, payload: { summary } }]),
          { type: "build-completed", payload: { todos, summary, ...framework } },
        ];
      }
      case "cancelled": {
        const payload = { buildCommandId: this.#context.commandId, success: true, reason };
        return [...ended, { type: "build-cancelled", payload }];
      }
      case "failed":
      case "interrupted":
        return [
          stream({ type: "error", errorText: reason }),
          ...ended,
          { type: "build-failed", error: reason },
        ];
    }
  }

  #step({ step, status, detail = "" }: BuildFact & { type: "step" }): Words[] {
    if (status === "begun") return [progress(STAGES[step], STEP_MESSAGES[step])];
    return status === "failed" ? [progress(STAGES[step], `The ${step} failed: ${detail}`)] : [];
  }

  #message(said: string, seq: number): Words[] {
    this.#said += said;
    return text("text", `text-${seq}`, said);
  }

  #plan(entries: { title: string; status: string }[], seq: number): Words[] {
    const before = new Map(this.#todos.map(({ id, status }) => [id, status]));
    this.#todos = entries.map(({ title, status }, index) => ({ id: `todo-${index + 1}`, title, status }));
    const changed = this.#todos.filter(({ id, status }) => before.get(id) !== status);
    const todos = this.#todos.map(({ title, status }) => ({ content: title, status, activeForm: title }));
    const toolCallId = `plan-${seq}`;
    return [
      stream({ type: "tool-input-available", toolCallId, toolName: TODO_TOOL, input: { todos } }),
      stream({ type: "tool-output-available", toolCallId, output: "" }),
      ...changed.map(({ id, title, status }) =>
        progress("generating", title, { todoId: id, todoStatus: status }),
      ),
    ];
  }

  #tool({ id, title, kind = "", status = "", output, files }: BuildFact & { type: "tool" }): Words[] {
    const words: Words[] = [];
    if (!this.#tools.has(id)) {
      this.#tools.add(id);
      const toolName = TOOLS[kind] ?? title ?? "Tool";
      const input = { ...(title === undefined ? {} : { title }), ...(files === undefined ? {} : { files }) };
      words.push(stream({ type: "tool-input-available", toolCallId: id, toolName, input }));
    }
    if (status === "completed" || status === "failed") {
      words.push(stream({ type: "tool-output-available", toolCallId: id, output: output ?? status }));
    }
    return words;
  }

  #preview({ port, framework }: BuildFact & { type: "preview" }): Words[] {
    this.#framework = framework;
    const { project, previewUrl } = this.#context;
    const known = project();
    const tunnel = previewUrl === null ? {} : { tunnelUrl: previewUrl };
    const detected: Words = { type: "port-detected", port, framework, ...tunnel };
    if (known === null) return [detected];
    const { path, slug, name: friendlyName, runCommand } = known;
    const payload = {
      path,
      projectType: framework,
      runCommand,
      port,
      detectedFramework: framework,
      slug,
      friendlyName,
    };
    return [detected, { type: "project-metadata", payload }];
  }
}

function progress(stage: string, message: string, more: Fields = {}): Words {
  return { type: "build-progress", payload: { stage, message, ...more } };
}

/** One server-sent event of the AI SDK's stream. */
function stream(part: Fields): Words {
  return { type: "build-stream", data: `data: ${JSON.stringify(part)}\n\n` };
}

const ended: readonly Words[] = [{ type: "build-stream", data: "data: [DONE]\n\n" }];

function text(kind: "text" | "reasoning", id: string, delta: string): Words[] {
  return [
    stream({ type: `${kind}-start`, id }),
    stream({ type: `${kind}-delta`, id, delta }),
    stream({ type: `${kind}-end`, id }),
  ];
}
