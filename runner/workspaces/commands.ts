import { hostname, loadavg, platform } from "node:os";
import type { Command, Fields, RunnerEvent } from "../../functions/protocol/control.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import type { LogLine } from "../logs/log-file.ts";
import type { ProjectLogs } from "../logs/project-logs.ts";
import { asRunnerError, RunnerError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import type { Disk } from "./disk.ts";
import { deleteFile, type FileEncoding, type FileEntry, listFiles, readFile, writeFile } from "./files.ts";
import type { Trash } from "./trash.ts";
import type { Workspaces } from "./workspaces.ts";

/** Room for everything in a control message but its largest field. */
const ENVELOPE_BYTES = 64 * 1024;
const FIELD_LIMIT_BYTES = CONTROL_MESSAGE_LIMIT_BYTES - ENVELOPE_BYTES;

/** Answers a command with its result; failures are answered too, as an `error` event with a `code`. */
export type CommandHandler = (command: Command) => AsyncIterable<RunnerEvent> | Promise<RunnerEvent>;

export interface WorkspaceCommandOptions {
  workspaces: Workspaces;
  trash: Trash;
  disk: Disk;
  logs: ProjectLogs;
  version: string;
  /** Ends the processes of a project before it is deleted. */
  stopProject?: (slug: string) => Promise<void>;
  /** Runs a change of a project's files, unless the project is being moved. */
  change?: <T>(slug: string, work: () => Promise<T>) => Promise<T>;
  /** What else belongs into the runner's status. */
  describe?: () => Fields;
}

/** The control commands that need nothing but the workspaces: `const handler = commands.get(command.type)`. */
export function createWorkspaceCommands(
  options: WorkspaceCommandOptions,
): ReadonlyMap<string, CommandHandler> {
  const { workspaces, trash, disk, logs, change = (_slug, work) => work() } = options;

  const list = async (command: Command): Promise<RunnerEvent> => {
    const slug = slugOf(command);
    const path = optionalString(command, "path") ?? "";
    const { files, truncated } = await listFiles(await workspaces.enter(slug), path);
    const shown = fitting(files);
    return event("file-list", command, {
      slug,
      path,
      files: shown,
      truncated: truncated || shown.length < files.length,
    });
  };

  const read = async (command: Command): Promise<RunnerEvent> => {
    const slug = slugOf(command);
    const filePath = requiredString(command, "filePath");
    const wanted = encodingOf(command);
    const project = await workspaces.enter(slug);
    let file = await readFile(project, filePath, wanted);
    // Text of control characters takes six bytes each in JSON.
    if (jsonBytes(file.content) > FIELD_LIMIT_BYTES) {
      if (wanted === "utf8")
        throw new RunnerError("too_large", "This text doesn't fit a message: read it as base64.");
      file = await readFile(project, filePath, "base64");
    }
    return event("file-content", command, { slug, filePath, ...file });
  };

  const write = async (command: Command): Promise<RunnerEvent> => {
    const slug = slugOf(command);
    const filePath = requiredString(command, "filePath");
    const content = requiredString(command, "content");
    const room = await disk.reserve(Buffer.byteLength(content));
    try {
      const size = await change(slug, async () => {
        const project = await workspaces.enterOrMake(slug);
        disk.touch(project);
        return writeFile(project, filePath, content, encodingOf(command));
      });
      return event("file-written", command, { slug, filePath, size });
    } finally {
      room.release();
    }
  };

  const remove = async (command: Command): Promise<RunnerEvent> => {
    const slug = slugOf(command);
    const filePath = optionalString(command, "filePath");
    if (filePath !== undefined) {
      const project = await workspaces.enter(slug);
      const existed = await change(slug, () => deleteFile(project, filePath, trash));
      disk.touch(project);
      return event("files-deleted", command, { slug, filePath, existed });
    }
    await options.stopProject?.(slug);
    const existed = await workspaces.remove(slug);
    await logs.closeOne(slug);
    await trash.discard(logs.directory(slug));
    return event("files-deleted", command, { slug, existed });
  };

  const status = async (command: Command): Promise<RunnerEvent> => {
    const usage = await disk.status();
    return event("runner-status", command, {
      payload: {
        status: usage.state === "full" ? "degraded" : "online",
        version: options.version,
        hostname: hostname(),
        platform: platform(),
        uptimeSeconds: Math.round(process.uptime()),
        load: loadavg()[0] ?? 0,
        disk: usage,
        ...options.describe?.(),
      },
    });
  };

  return new Map<string, CommandHandler>([
    ["list-files", answered(list)],
    ["read-file", answered(read)],
    ["write-file", answered(write)],
    ["delete-project-files", answered(remove)],
    ["runner-health-check", answered(status)],
    ["fetch-logs", (command) => fetchLogs(command, logs)],
  ]);
}

/** One `log-chunk` for each run of lines of a stream; the last one says whether it was truncated and is never left out. */
async function* fetchLogs(command: Command, logs: ProjectLogs): AsyncIterable<RunnerEvent> {
  try {
    const slug = slugOf(command);
    const { cursor, lines, truncated } = await (
      await logs.open(slug)
    ).read(cursorOf(command), limitOf(command));
    const runs: LogLine[][] = [];
    for (const line of lines) {
      const last = runs.at(-1);
      if (last?.[0]?.stream === line.stream) last.push(line);
      else runs.push([line]);
    }
    const chunk = (run: LogLine[], more: Fields): RunnerEvent =>
      event("log-chunk", command, {
        slug,
        // SentryVibe knows two streams; the runner's own remarks belong to the second.
        stream: run[0]?.stream === "stdout" ? "stdout" : "stderr",
        data: run.map(({ text }) => `${text}\n`).join(""),
        ...more,
      });
    const last = runs.pop() ?? [];
    // Only the last chunk has a cursor, so a reader that is cut off before it starts again where it began.
    for (const run of runs) yield chunk(run, { cursor: String(cursorOf(command)) });
    yield chunk(last, { cursor: String(cursor), truncated, last: true });
  } catch (error) {
    yield failure(command, error);
  }
}

function answered(handle: (command: Command) => Promise<RunnerEvent>): CommandHandler {
  return (command) => handle(command).catch((error: unknown) => failure(command, error));
}

function event(type: RunnerEvent["type"], command: Command, fields: Fields): RunnerEvent {
  return {
    ...fields,
    type,
    commandId: command.id,
    ...(command.projectId === null ? {} : { projectId: command.projectId }),
    timestamp: new Date().toISOString(),
  };
}

function failure(command: Command, error: unknown): RunnerEvent {
  const { code, message, field } = asRunnerError(error);
  if (code === "internal") complain(`${command.type} ${command.id}`, error);
  return event("error", command, { code, error: message, ...(field === undefined ? {} : { field }) });
}

/** SentryVibe sends the project's slug in the payload and its database id as `projectId`; here they are the same. */
function slugOf({ payload, projectId }: Command): string {
  const slug = payload["slug"] ?? projectId;
  if (typeof slug !== "string")
    throw new RunnerError("invalid_project", "The command names no project.", "slug");
  return slug;
}

function requiredString(command: Command, name: string): string {
  const value = optionalString(command, name);
  if (value === undefined) throw new RunnerError("invalid_request", `The command has no ${name}.`, name);
  return value;
}

function optionalString({ payload }: Command, name: string): string | undefined {
  const value = payload[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new RunnerError("invalid_request", `This must be a string.`, name);
  return value;
}

function encodingOf(command: Command): FileEncoding | undefined {
  const value = optionalString(command, "encoding");
  if (value === undefined || value === "utf8" || value === "base64") return value;
  throw new RunnerError("invalid_request", "The encoding must be utf8 or base64.", "encoding");
}

function cursorOf(command: Command): number {
  const text = optionalString(command, "cursor") ?? "0";
  if (!/^\d{1,15}$/.test(text)) throw new RunnerError("invalid_request", "This isn't a cursor.", "cursor");
  return Number(text);
}

function limitOf({ payload }: Command): number | undefined {
  const { limit } = payload;
  if (limit === undefined || limit === null) return undefined;
  if (typeof limit === "number" && Number.isInteger(limit) && limit > 0) return Math.min(limit, 1_000);
  throw new RunnerError("invalid_request", "The limit must be a whole number above 0.", "limit");
}

function fitting(files: FileEntry[]): FileEntry[] {
  let bytes = 0;
  const end = files.findIndex((file) => (bytes += jsonBytes(file) + 1) > FIELD_LIMIT_BYTES);
  return end === -1 ? files : files.slice(0, end);
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
