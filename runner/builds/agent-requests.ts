import { randomUUID } from "node:crypto";
import { isAbsolute, relative, resolve, sep } from "node:path";
import type { Readable } from "node:stream";
import {
  RequestError,
  type CreateElicitationRequest,
  type CreateElicitationResponse,
  type CreateTerminalRequest,
  type ReadTextFileRequest,
  type WriteTextFileRequest,
} from "@agentclientprotocol/sdk";
import type { BuildFact } from "../../functions/protocol/builds.ts";
import { isObject } from "../../functions/protocol/control.ts";
import type { HostedProcess } from "../processes/hosted-process.ts";

/** Of a file that an agent reads or writes through us. */
const FILE_LIMIT_BYTES = 8 * 1024 * 1024;
/** A pipe in a file's place never ends. */
const FILE_LIMIT_MS = 60_000;
/** Of a terminal's output, from its end, unless the agent wants less. */
const OUTPUT_LIMIT_BYTES = 1024 * 1024;
/** What an event shows of it. */
const SHOWN_LIMIT = 16 * 1024;
const TERMINALS_LIMIT = 32;
/** Of one form. */
const QUESTIONS_LIMIT = 8;

/** Starts a command as the agent itself was started: in its project, with its rights. */
export type StartCommand = (
  command: string,
  output: (stream: "stdout" | "stderr", output: Readable) => Promise<void>,
) => Promise<HostedProcess>;

export interface AgentQuestion {
  title: string;
  /** None: the answer is a text. */
  options: { id: string; name: string; kind: string }[];
}

export interface RequestsOptions {
  directory: string;
  start: StartCommand;
  fact: (fact: BuildFact) => void;
  /** Null: nobody answered. */
  ask: (question: AgentQuestion) => Promise<string | null>;
}

interface Terminal {
  command: string;
  process: HostedProcess;
  output: Buffer;
  isTruncated: boolean;
  limitBytes: number;
  exit: Promise<{ exitCode: number | null; signal: string | null }>;
  exited: { exitCode: number | null; signal: string | null } | null;
}

/** What agents may ask of their client besides permissions: files, terminals, forms. */
export class AgentRequests {
  readonly #options: RequestsOptions;
  readonly #terminals = new Map<string, Terminal>();
  readonly #starting = new Set<Promise<HostedProcess>>();
  readonly #running = new Set<HostedProcess>();
  #terminalsStarting = 0;
  #isClosed = false;

  constructor(options: RequestsOptions) {
    this.#options = options;
  }

  /** The guest reads it, so a symlink leads no further than the guest may go. */
  async readTextFile({ path, line, limit }: ReadTextFileRequest): Promise<{ content: string }> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const file = this.#inside(path);
    const process = await this.#start(`exec cat -- ${quoted(file)}`, async (stream, output) => {
      for await (const chunk of output) {
        if (stream === "stderr") continue;
        bytes += (chunk as Buffer).length;
        if (bytes <= FILE_LIMIT_BYTES) chunks.push(chunk as Buffer);
      }
    });
    process.stdin?.end();
    const code = await exitOfFileCall(process);
    if (code !== 0) throw RequestError.resourceNotFound(path);
    if (bytes > FILE_LIMIT_BYTES)
      throw RequestError.invalidParams({ path }, `The file is larger than ${FILE_LIMIT_BYTES} bytes.`);
    const content = Buffer.concat(chunks).toString();
    if (line == null && limit == null) return { content };
    const from = Math.max(0, (line ?? 1) - 1);
    return {
      content: content
        .split("\n")
        .slice(from, limit == null ? undefined : from + limit)
        .join("\n"),
    };
  }

  async writeTextFile({ path, content }: WriteTextFileRequest): Promise<Record<string, never>> {
    const file = this.#inside(path);
    if (Buffer.byteLength(content) > FILE_LIMIT_BYTES)
      throw RequestError.invalidParams({ path }, `The file is larger than ${FILE_LIMIT_BYTES} bytes.`);
    const directory = resolve(file, "..");
    const process = await this.#start(
      `mkdir -p -- ${quoted(directory)} && exec cat > ${quoted(file)}`,
      async (_stream, output) => void output.resume(),
    );
    process.stdin?.end(content);
    const code = await exitOfFileCall(process);
    if (code !== 0) throw RequestError.internalError({ path }, "The file can't be written.");
    const name = relative(this.#options.directory, file);
    this.#options.fact({
      type: "tool",
      id: `fs-${randomUUID()}`,
      title: `Write ${name}`,
      kind: "edit",
      status: "completed",
      files: [name],
    });
    return {};
  }

  async createTerminal(request: CreateTerminalRequest): Promise<{ terminalId: string }> {
    if (this.#terminals.size + this.#terminalsStarting >= TERMINALS_LIMIT)
      throw RequestError.invalidRequest({}, `${TERMINALS_LIMIT} terminals are open already.`);
    const { command, args = [], env = [], cwd, outputByteLimit } = request;
    const place = cwd == null ? this.#options.directory : this.#inside(cwd, true);
    const variables = env.map(({ name, value }) => quoted(`${name}=${value}`));
    // Without arguments, agents write whole command lines.
    const words =
      args.length === 0 ? `/bin/sh -c ${quoted(command)}` : [command, ...args].map(quoted).join(" ");
    const id = `terminal-${randomUUID()}`;
    const kept: Pick<Terminal, "output" | "isTruncated" | "limitBytes"> = {
      output: Buffer.alloc(0),
      isTruncated: false,
      limitBytes: Math.min(outputByteLimit ?? OUTPUT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES),
    };
    this.#terminalsStarting++;
    const process = await this.#start(
      `cd ${quoted(place)} && exec env ${variables.join(" ")} ${words}`,
      async (_stream, output) => {
        for await (const chunk of output) keep(kept, chunk as Buffer);
      },
    ).finally(() => this.#terminalsStarting--);
    process.stdin?.end();
    const shown = [command, ...args].join(" ").slice(0, 1_000);
    const exit = process.finished.then(({ code, signal }) => ({ exitCode: code, signal }));
    const terminal: Terminal = Object.assign(kept, { command: shown, process, exit, exited: null });
    this.#terminals.set(id, terminal);
    this.#told(id, terminal).catch(() => undefined); // what can't be killed is told by the build's end
    return { terminalId: id };
  }

  terminalOutput(id: string) {
    const { output, isTruncated, exited } = this.#terminal(id);
    return {
      output: output.toString(),
      truncated: isTruncated,
      ...(exited === null ? {} : { exitStatus: exited }),
    };
  }

  waitForExit(id: string): Promise<{ exitCode: number | null; signal: string | null }> {
    return this.#terminal(id).exit;
  }

  async killTerminal(id: string): Promise<Record<string, never>> {
    await this.#terminal(id).process.stop();
    return {};
  }

  async releaseTerminal(id: string): Promise<Record<string, never>> {
    const terminal = this.#terminal(id);
    this.#terminals.delete(id);
    await terminal.process.stop();
    return {};
  }

  /** Asks a person each field that has to be filled in; a form with anything else is declined. */
  async elicit(request: CreateElicitationRequest): Promise<CreateElicitationResponse> {
    const schema =
      request.mode === "form" ? (request as { requestedSchema?: unknown }).requestedSchema : null;
    const properties =
      isObject(schema) && isObject(schema["properties"]) ? Object.entries(schema["properties"]) : [];
    if (properties.length === 0 || properties.length > QUESTIONS_LIMIT) return { action: "decline" };
    const required = isObject(schema) && Array.isArray(schema["required"]) ? schema["required"] : [];
    const content: Record<string, string | number | boolean | string[]> = {};
    for (const [name, property] of properties) {
      const field = isObject(property) ? fieldOf(property) : null;
      if (field === null) {
        if (required.includes(name)) return { action: "decline" };
        continue;
      }
      // A text beside a choice is what agents offer for another answer: nobody has to fill it in.
      if (field.options.length === 0 && !required.includes(name) && properties.length > 1) continue;
      const said = isObject(property) ? (property["title"] ?? property["description"]) : null;
      const title = [request.message, typeof said === "string" ? said : ""].filter((text) => text !== "");
      const answer = await this.#options.ask({
        title: [...new Set(title)].join(" "),
        options: field.options,
      });
      if (answer === null) return { action: "cancel" };
      const value = field.parse(answer);
      if (value === null) return { action: "decline" };
      content[name] = value;
    }
    return { action: "accept", content };
  }

  /** Ends all that was started, and starts nothing any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#terminals.clear();
    await Promise.allSettled(this.#starting);
    await Promise.all([...this.#running].map((process) => process.stop()));
  }

  async #start(...asked: Parameters<StartCommand>): Promise<HostedProcess> {
    if (this.#isClosed) throw RequestError.invalidRequest({}, "The build is over.");
    const starting = this.#options.start(...asked);
    this.#starting.add(starting);
    try {
      const process = await starting;
      this.#running.add(process);
      const ended = (): boolean => this.#running.delete(process);
      void process.finished.then(ended, ended);
      return process;
    } finally {
      this.#starting.delete(starting);
    }
  }

  async #told(id: string, terminal: Terminal): Promise<void> {
    const { command, exit } = terminal;
    this.#options.fact({ type: "terminal", id, command, status: "running" });
    const how = await exit;
    terminal.exited = how;
    const output = terminal.output.toString().slice(-SHOWN_LIMIT);
    this.#options.fact({
      type: "terminal",
      id,
      command,
      status: "exited",
      ...how,
      ...(output === "" ? {} : { output }),
    });
  }

  #terminal(id: string): Terminal {
    const terminal = this.#terminals.get(id);
    if (terminal === undefined) throw RequestError.resourceNotFound(id);
    return terminal;
  }

  /** Throws for a path that isn't the project's. */
  #inside(path: string, orItself = false): string {
    const { directory } = this.#options;
    const found = resolve(directory, path);
    const place = relative(directory, found);
    const isOutside = place === ".." || place.startsWith(`..${sep}`) || isAbsolute(place);
    if (isOutside || path.includes("\0") || (place === "" && !orItself))
      throw RequestError.invalidParams({ path }, "This path leads out of the project.");
    return found;
  }
}

async function exitOfFileCall(process: HostedProcess): Promise<number | null> {
  const limit = setTimeout(() => void process.stop(), FILE_LIMIT_MS);
  try {
    return (await process.finished).code;
  } finally {
    clearTimeout(limit);
  }
}

function keep(terminal: Pick<Terminal, "output" | "isTruncated" | "limitBytes">, chunk: Buffer): void {
  const all = Buffer.concat([terminal.output, chunk]);
  terminal.isTruncated ||= all.length > terminal.limitBytes;
  terminal.output = Buffer.from(all.subarray(Math.max(0, all.length - terminal.limitBytes)));
}

interface Field {
  options: AgentQuestion["options"];
  parse: (answer: string) => string | number | boolean | string[] | null;
}

/** Null: a kind of field that we can't ask for. */
function fieldOf(property: Record<string, unknown>): Field | null {
  switch (property["type"]) {
    case "string":
      return { options: choices(property), parse: (answer) => answer };
    case "boolean":
      return {
        options: [
          { id: "true", name: "Yes", kind: "choice" },
          { id: "false", name: "No", kind: "choice" },
        ],
        parse: (answer) => answer === "true",
      };
    case "number":
    case "integer":
      return {
        options: [],
        parse: (answer) => (answer.trim() === "" || Number.isNaN(Number(answer)) ? null : Number(answer)),
      };
    case "array": {
      const { items } = property;
      const options = isObject(items) ? choices(items) : [];
      return options.length === 0 ? null : { options, parse: (answer) => [answer] };
    }
    default:
      return null;
  }
}

function choices(schema: Record<string, unknown>): AgentQuestion["options"] {
  const titled = schema["oneOf"] ?? schema["anyOf"];
  const listed = Array.isArray(titled) ? titled : Array.isArray(schema["enum"]) ? schema["enum"] : [];
  return listed.flatMap((one: unknown) => {
    const id = isObject(one) ? one["const"] : one;
    const name = isObject(one) ? one["title"] : one;
    return typeof id === "string" ? [{ id, name: typeof name === "string" ? name : id, kind: "choice" }] : [];
  });
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
