import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Fields, parseEvent, type RunnerEvent } from "../../functions/protocol/control.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import { ProjectLogs } from "../../runner/logs/project-logs.ts";
import { type CommandHandler, createWorkspaceCommands } from "../../runner/workspaces/commands.ts";
import { Disk } from "../../runner/workspaces/disk.ts";
import { Trash } from "../../runner/workspaces/trash.ts";
import { Workspaces } from "../../runner/workspaces/workspaces.ts";

let root: string;
let disk: Disk;
let logs: ProjectLogs;
let commands: ReadonlyMap<string, CommandHandler>;
const stopped: string[] = [];

beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "signalbox-commands-")));
  const trash = await Trash.open(join(root, ".signalbox", "trash"));
  disk = await Disk.open({ root });
  logs = new ProjectLogs(join(root, ".signalbox", "logs"));
  commands = createWorkspaceCommands({
    workspaces: await Workspaces.open(root, trash),
    trash,
    disk,
    logs,
    version: "1.2.3",
    stopProject: async (slug) => void stopped.push(slug),
  });
});
afterEach(async () => {
  disk.close();
  await logs.close();
  await rm(root, { recursive: true, force: true });
});

async function run(type: string, payload: Fields): Promise<RunnerEvent[]> {
  const handler = commands.get(type);
  if (!handler) throw new Error(`no handler for ${type}`);
  const answer = handler({ id: "c1", type, projectId: "shop", timestamp: "", payload });
  const events: RunnerEvent[] = [];
  if (Symbol.asyncIterator in answer) for await (const event of answer) events.push(event);
  else events.push(await answer);
  for (const event of events) {
    const text = JSON.stringify(event);
    expect(text.length).toBeLessThanOrEqual(CONTROL_MESSAGE_LIMIT_BYTES);
    expect(parseEvent(text)).toMatchObject({ commandId: "c1", projectId: "shop" });
  }
  return events;
}

test("a file is written, read, listed and deleted in SentryVibe's words", async () => {
  expect(await run("write-file", { slug: "shop", filePath: "src/app.ts", content: "app" })).toMatchObject([
    { type: "file-written", slug: "shop", filePath: "src/app.ts", size: 3 },
  ]);
  expect(await run("read-file", { slug: "shop", filePath: "src/app.ts" })).toMatchObject([
    { type: "file-content", slug: "shop", filePath: "src/app.ts", content: "app", encoding: "utf8", size: 3 },
  ]);
  expect(await run("list-files", { slug: "shop" })).toMatchObject([
    { type: "file-list", slug: "shop", files: [{ name: "src", type: "directory", path: "src" }] },
  ]);
  expect(await run("list-files", { path: "src" })).toMatchObject([
    { type: "file-list", files: [{ name: "app.ts", type: "file", path: "src/app.ts", size: 3 }] },
  ]);
  expect(await run("delete-project-files", { slug: "shop", filePath: "src/app.ts" })).toMatchObject([
    { type: "files-deleted", slug: "shop", existed: true },
  ]);
  expect(await run("delete-project-files", { slug: "shop" })).toMatchObject([
    { type: "files-deleted", slug: "shop", existed: true },
  ]);
  expect(stopped).toEqual(["shop"]);
  expect(await run("list-files", { slug: "shop" })).toMatchObject([
    { type: "error", code: "project_not_found" },
  ]);
});

test.each<[type: string, payload: Fields, code: string]>([
  ["read-file", { slug: "shop", filePath: "../other/secret" }, "path_outside_project"],
  ["write-file", { slug: "shop", filePath: "../other/x", content: "x" }, "path_outside_project"],
  ["list-files", { slug: "shop", path: "/etc" }, "path_outside_project"],
  ["delete-project-files", { slug: "shop", filePath: ".." }, "path_outside_project"],
  ["delete-project-files", { slug: ".." }, "invalid_project"],
  ["delete-project-files", { slug: "" }, "invalid_project"],
  ["read-file", { slug: "shop" }, "invalid_request"],
  ["read-file", { slug: "shop", filePath: 5 }, "invalid_request"],
  ["read-file", { slug: "shop", filePath: "nothing" }, "not_found"],
  ["read-file", { slug: ["shop"], filePath: "x" }, "invalid_project"],
  ["write-file", { slug: "shop", filePath: "x" }, "invalid_request"],
  ["write-file", { slug: "shop", filePath: "x", content: "x", encoding: "latin1" }, "invalid_request"],
  ["fetch-logs", { slug: "..", cursor: "0" }, "invalid_project"],
  ["fetch-logs", { cursor: "../x" }, "invalid_request"],
  ["fetch-logs", { limit: -1 }, "invalid_request"],
])("%s %j is answered with the error %s", async (type, payload, code) => {
  await mkdir(join(root, "shop"), { recursive: true });
  await mkdir(join(root, "other"), { recursive: true });
  await writeFile(join(root, "other", "secret"), "secret");
  expect(await run(type, payload)).toMatchObject([{ type: "error", code }]);
  expect(await readFile(join(root, "other", "secret"), "utf8")).toBe("secret");
});

test("text that JSON would blow up beyond a message comes as base64", async () => {
  await mkdir(join(root, "shop"));
  await writeFile(join(root, "shop", "controls"), "\u0001".repeat(1_500_000));
  const [event] = await run("read-file", { slug: "shop", filePath: "controls" });
  expect(event).toMatchObject({ type: "file-content", encoding: "base64", size: 1_500_000 });
  expect(await run("read-file", { slug: "shop", filePath: "controls", encoding: "utf8" })).toMatchObject([
    { type: "error", code: "too_large" },
  ]);
});

test("logs come in chunks of a stream, and the cursor of the last one goes on", async () => {
  const log = await logs.open("shop");
  const at = new Date().toISOString();
  await log.append([
    { at, stream: "stdout", text: "one" },
    { at, stream: "stdout", text: "two" },
    { at, stream: "stderr", text: "oops" },
  ]);
  const events = await run("fetch-logs", { cursor: "0" });
  expect(events).toMatchObject([
    { type: "log-chunk", stream: "stdout", data: "one\ntwo\n" },
    { type: "log-chunk", stream: "stderr", data: "oops\n", last: true, truncated: false },
  ]);
  await log.append([{ at, stream: "stdout", text: "three" }]);
  const cursor = String(events.at(-1)?.["cursor"]);
  expect(await run("fetch-logs", { cursor })).toMatchObject([{ data: "three\n", last: true }]);
});

test("a health check says who this is and how its disk is", async () => {
  expect(await run("runner-health-check", {})).toMatchObject([
    { type: "runner-status", payload: { status: "online", version: "1.2.3", disk: { state: "ok" } } },
  ]);
});
