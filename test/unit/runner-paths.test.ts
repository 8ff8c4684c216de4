import { execFileSync } from "node:child_process";
import {
  mkdir,
  mkdtemp,
  readFile as readRaw,
  realpath,
  rm,
  symlink,
  writeFile as writeRaw,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunnerError } from "../../runner/runner-error.ts";
import {
  deleteFile,
  FILE_LIMIT_BYTES,
  listFiles,
  readFile,
  writeFile,
} from "../../runner/workspaces/files.ts";
import { Trash } from "../../runner/workspaces/trash.ts";
import { Workspaces } from "../../runner/workspaces/workspaces.ts";

let root: string;
let project: string;
let trash: Trash;
let workspaces: Workspaces;

beforeAll(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "signalbox-paths-")));
  trash = await Trash.open(join(root, ".signalbox", "trash"));
  workspaces = await Workspaces.open(root, trash);
  project = await workspaces.enterOrMake("shop");
  await mkdir(join(root, "shop-2"));
  await mkdir(join(project, "src"));
  await mkdir(join(root, "outside"));
  await writeRaw(join(project, "src", "app.ts"), "app");
  await writeRaw(join(root, "outside", "secret"), "secret");
  await writeRaw(join(root, "shop-2", "secret"), "secret");
  await symlink("../outside", join(project, "to-outside"));
  await symlink("../outside/secret", join(project, "to-secret"));
  await symlink(join(root, "outside"), join(project, "to-absolute"));
  await symlink("../shop-2", join(project, "to-sibling"));
  await symlink("..", join(project, "to-parent"));
  await symlink("/", join(project, "to-root"));
  await symlink("/proc/self/root", join(project, "to-proc-root"));
  await symlink("/proc/self/cwd", join(project, "to-proc-cwd"));
  await symlink("/dev/zero", join(project, "to-zero"));
  await symlink("/dev/stdin", join(project, "to-stdin"));
  await symlink("../outside/new", join(project, "to-nothing"));
  await symlink("loop-b", join(project, "loop-a"));
  await symlink("loop-a", join(project, "loop-b"));
  await symlink("../to-parent/outside", join(project, "src", "two-steps"));
  await symlink("src/../../outside", join(project, "to-climb"));
  await symlink("src", join(project, "to-src"));
  await symlink(join(project, "src"), join(project, "to-src-absolute"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Every one is refused by every function. */
const hostile: [name: string, path: unknown][] = [
  ["the parent", ".."],
  ["the parent's file", "../outside/secret"],
  ["a sibling whose name begins alike", "../shop-2/secret"],
  ["far up", "../../../../../../../../etc/passwd"],
  ["up from below", "src/../../outside/secret"],
  ["up with dots between", "./.././outside/secret"],
  ["up with double slashes", "src//..//..//outside/secret"],
  ["up at the end", "src/../.."],
  ["absolute", "/etc/passwd"],
  ["absolute to its own root", "/outside/secret"],
  ["double slash", "//etc/passwd"],
  ["the project itself, absolute", "/shop/src/app.ts"],
  ["backslashes", "..\\outside\\secret"],
  ["a backslash in a name", "src\\app.ts"],
  ["a Windows drive", "C:/Windows/win.ini"],
  ["a Windows drive without slash", "c:secret"],
  ["a UNC path", "\\\\host\\share"],
  ["encoded dots", "%2e%2e/outside/secret"],
  ["encoded dots in upper case", "%2E%2E/outside/secret"],
  ["half encoded dots", ".%2e/outside/secret"],
  ["an encoded slash", "..%2foutside%2fsecret"],
  ["an encoded slash in a name", "src%2fapp.ts"],
  ["an encoded backslash", "..%5coutside"],
  ["twice encoded dots", "%252e%252e/outside/secret"],
  ["thrice encoded dots", "%25252e%25252e/outside/secret"],
  ["overlong dots", "%c0%ae%c0%ae/outside/secret"],
  ["an overlong slash", "..%c0%afoutside"],
  ["an encoded NUL", "src/app.ts%00.png"],
  ["a NUL", "src/app.ts\0.png"],
  ["a NUL alone", "\0"],
  ["a lone surrogate", "src/\ud800"],
  ["too long a path", "a/".repeat(3_000)],
  ["too long a name", "a".repeat(256)],
  ["too long a name in bytes", "ä".repeat(200)],
  ["too deep", "a/".repeat(101) + "a"],
  ["a device", "NUL"],
  ["a device with an extension", "src/con.txt"],
  ["a device port", "COM1"],
  ["a device stream", "aux:stream"],
  ["a symlink out", "to-outside/secret"],
  ["an absolute symlink out", "to-absolute/secret"],
  ["a symlink to a sibling", "to-sibling/secret"],
  ["a symlink to the parent", "to-parent/outside/secret"],
  ["a symlink to the root", "to-root/etc/passwd"],
  ["a symlink to /proc's root", "to-proc-root/etc/passwd"],
  ["a symlink to /proc's directory", "to-proc-cwd/package.json"],
  ["two symlinks out", "src/two-steps/secret"],
  ["a symlink that climbs on its way", "to-climb/secret"],
  ["a loop of symlinks", "loop-a/x"],
  ["a number", 7],
  ["nothing", null],
  ["a list", ["src", "app.ts"]],
  ["an object", { toString: () => "src/app.ts" }],
];

/** Symlinks at the end: followed by all but delete, which deletes the link itself. */
const hostileEnds = [
  "to-outside",
  "to-secret",
  "to-root",
  "to-zero",
  "to-stdin",
  "to-nothing",
  "loop-a",
  "to-parent",
];

const refusal = expect.objectContaining({
  name: "RunnerError",
  code: expect.stringMatching(/^(path_outside_project|invalid_path)$/) as string,
});

describe.each(hostile)("the path %s", (_name, path) => {
  test("is refused by list, read, write and delete, and nothing outside is touched", async () => {
    await expect(listFiles(project, path)).rejects.toEqual(refusal);
    await expect(readFile(project, path)).rejects.toEqual(refusal);
    await expect(writeFile(project, path, "evil")).rejects.toEqual(refusal);
    await expect(deleteFile(project, path, trash)).rejects.toEqual(refusal);
    expect(await readRaw(join(root, "outside", "secret"), "utf8")).toBe("secret");
    expect(await readRaw(join(root, "shop-2", "secret"), "utf8")).toBe("secret");
  });
});

test.each(hostileEnds)("the symlink %s at a path's end isn't followed out", async (path) => {
  const outside = expect.objectContaining({ code: "path_outside_project" });
  await expect(listFiles(project, path)).rejects.toEqual(outside);
  await expect(readFile(project, path)).rejects.toEqual(outside);
  await expect(writeFile(project, path, "evil")).rejects.toEqual(outside);
  expect(await readRaw(join(root, "outside", "secret"), "utf8")).toBe("secret");
});

test("deleting a symlink out deletes the link alone", async () => {
  await symlink("../outside", join(project, "doomed-link"));
  expect(await deleteFile(project, "doomed-link", trash)).toBe(true);
  expect(await readRaw(join(root, "outside", "secret"), "utf8")).toBe("secret");
});

test.each([
  "..",
  ".",
  "",
  "Shop",
  "-shop",
  "shop/..",
  "shop/src",
  ".signalbox",
  "a".repeat(64),
  "shop\0",
  "%2e",
  null,
  1,
])("the slug %j isn't a project", async (slug) => {
  const refused = expect.objectContaining({ code: "invalid_project" });
  await expect(workspaces.enter(slug)).rejects.toEqual(refused);
  await expect(workspaces.enterOrMake(slug)).rejects.toEqual(refused);
  await expect(workspaces.remove(slug)).rejects.toEqual(refused);
});

test("a project's directory that is a symlink is refused", async () => {
  await symlink("outside", join(root, "impostor"));
  const outside = expect.objectContaining({ code: "path_outside_project" });
  await expect(workspaces.enter("impostor")).rejects.toEqual(outside);
  await expect(workspaces.enterOrMake("impostor")).rejects.toEqual(outside);
  await expect(readFile(join(root, "impostor"), "secret")).rejects.toBeInstanceOf(RunnerError);
});

test("symlinks that stay inside are followed, relative and absolute", async () => {
  for (const path of ["to-src/app.ts", "to-src-absolute/app.ts", "to-src/../src/app.ts", "./src//app.ts"]) {
    expect((await readFile(project, path)).content).toBe("app");
  }
  await writeFile(project, "to-src/new.ts", "new");
  expect(await readRaw(join(project, "src", "new.ts"), "utf8")).toBe("new");
});

test("a named pipe and a directory are no files, and nobody waits for them", async () => {
  execFileSync("mkfifo", [join(project, "pipe")]);
  const refused = expect.objectContaining({ code: "not_a_file" });
  await expect(readFile(project, "pipe")).rejects.toEqual(refused);
  await expect(writeFile(project, "pipe", "x")).rejects.toEqual(refused);
  await expect(readFile(project, "src")).rejects.toEqual(refused);
  await expect(writeFile(project, "src", "x")).rejects.toEqual(refused);
});

test("files are written with their directories, read back in both encodings, listed and deleted", async () => {
  const bytes = Buffer.from([0, 255, 254, 10]);
  await writeFile(project, "deep/er/data.bin", bytes.toString("base64"), "base64");
  expect(await readFile(project, "deep/er/data.bin")).toEqual({
    content: bytes.toString("base64"),
    encoding: "base64",
    size: 4,
  });
  await expect(readFile(project, "deep/er/data.bin", "utf8")).rejects.toEqual(
    expect.objectContaining({ code: "invalid_request" }),
  );
  await writeFile(project, "deep/er/text", "\ufeffgrüße");
  expect((await readFile(project, "deep/er/text")).content).toBe("\ufeffgrüße");
  const { files, truncated } = await listFiles(project, "deep/er");
  expect(truncated).toBe(false);
  expect(files).toEqual([
    { name: "data.bin", path: "deep/er/data.bin", type: "file", size: 4 },
    { name: "text", path: "deep/er/text", type: "file", size: 10 },
  ]);
  expect((await listFiles(project, "")).files.find(({ name }) => name === "to-src")?.type).toBe("symlink");
  expect(await deleteFile(project, "deep", trash)).toBe(true);
  expect(await deleteFile(project, "deep", trash)).toBe(false);
  await expect(listFiles(project, "deep")).rejects.toEqual(expect.objectContaining({ code: "not_found" }));
});

test("a file keeps its mode when it is written, and no temporary file stays", async () => {
  await writeRaw(join(project, "run.sh"), "old", { mode: 0o755 });
  await writeFile(project, "run.sh", "new");
  const names = (await listFiles(project, "")).files.map(({ name }) => name);
  expect(names.filter((name) => name.startsWith(".signalbox"))).toEqual([]);
  expect(execFileSync("stat", ["-c", "%a", join(project, "run.sh")], { encoding: "utf8" }).trim()).toBe(
    "755",
  );
});

test("what is too large is refused before it is written or decoded", async () => {
  const large = expect.objectContaining({ code: "too_large" });
  await expect(writeFile(project, "large", "x".repeat(FILE_LIMIT_BYTES + 1))).rejects.toEqual(large);
  await expect(writeFile(project, "large", "ä".repeat(FILE_LIMIT_BYTES / 2 + 1))).rejects.toEqual(large);
  await writeRaw(join(project, "large"), Buffer.alloc(FILE_LIMIT_BYTES + 1));
  await expect(readFile(project, "large")).rejects.toEqual(large);
  await expect(writeFile(project, "large", "!!!", "base64")).rejects.toEqual(
    expect.objectContaining({ code: "invalid_request" }),
  );
});
