import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { packTar, type TarEntry } from "modern-tar";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SourceStore } from "../../runner/sources/source-store.ts";
import { unpack } from "../../runner/sources/unpack.ts";
import { Disk } from "../../runner/workspaces/disk.ts";
import { archive, hashed, type Tree } from "../helpers/archive.ts";

let root: string;
let disk: Disk;
let sources: SourceStore;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-sources-"));
  await mkdir(join(root, "store"));
  disk = await Disk.open({ root });
  sources = await SourceStore.open({ directory: join(root, "store"), disk, limitBytes: 4 * 1024 * 1024 });
});
afterEach(async () => {
  disk.close();
  await rm(root, { recursive: true, force: true });
});

const problem = (code: string, message?: RegExp): unknown =>
  expect.objectContaining({
    name: "RunnerError",
    code,
    ...(message ? { message: expect.stringMatching(message) as string } : {}),
  });

async function unpackData(data: Buffer): Promise<string> {
  const { sha256 } = await sources.put(Readable.from([data]));
  await sources.unpack(sha256, join(root, "tree"));
  return join(root, "tree");
}

async function expectRefused(data: Buffer, code: string, message?: RegExp): Promise<void> {
  await expect(unpackData(data)).rejects.toEqual(problem(code, message));
  // Neither a tree nor a part of one, nor anything beside it.
  expect(await readdir(root)).toEqual(["store"]);
}

const file = { type: "file" } as const;
const attacks: [name: string, tree: Tree, message: RegExp][] = [
  ["leads out", { "../evil": "x" }, /out of the archive/],
  ["leads out from below", { "a/../../evil": "x" }, /out of the archive/],
  ["leads up inside", { "a/../b": "x" }, /out of the archive/],
  ["is absolute", { "/tmp/evil": "x" }, /absolute/],
  ["has a drive", { "C:/evil": "x" }, /absolute/],
  ["has backslashes", { "..\\evil": "x" }, /absolute/],
  ["has no name", { ".": { ...file } }, /no name/],
  ["is a character device", { dev: { type: "character-device" } }, /device/],
  ["is a block device", { dev: { type: "block-device" } }, /device/],
  ["is a named pipe", { dev: { type: "fifo" } }, /device/],
  ["is an absolute symlink", { link: { type: "symlink", linkname: "/etc" } }, /symlink out/],
  ["is a symlink out", { "a/link": { type: "symlink", linkname: "../../x" } }, /symlink out/],
  ["is a symlink to the parent", { link: { type: "symlink", linkname: ".." } }, /symlink out/],
  [
    "climbs behind another symlink",
    {
      "top/x": "x",
      "a/b/c/s": { type: "symlink", linkname: "../../../top" },
      "a/b/c/t": { type: "symlink", linkname: "s/../../evil" },
    },
    /climbs after/,
  ],
  ["writes through a symlink", { a: { type: "symlink", linkname: "b" }, "a/x": "x" }, /through a link/],
  ["replaces a symlink", { a: { type: "symlink", linkname: "b" }, "./a": "x" }, /twice/],
  ["is a hard link out", { a: { type: "link", linkname: "../../etc/passwd" } }, /out of the archive/],
  ["is an absolute hard link", { a: { type: "link", linkname: "/etc/passwd" } }, /absolute/],
  ["is a hard link to nothing", { a: { type: "link", linkname: "b" } }, /earlier file/],
  [
    "is a hard link to a symlink",
    { s: { type: "symlink", linkname: "x" }, a: { type: "link", linkname: "s" } },
    /earlier file/,
  ],
  ["is there twice", { a: "1", "./a": "2" }, /twice/],
  ["is a file and a directory", { a: "1", "a/b": "2" }, /directory and something else/],
  ["differs in case", { "README.md": "1", "readme.md": "2" }, /only in case/],
  ["has a directory that differs in case", { "Src/a": "1", "src/b": "2" }, /only in case/],
  ["differs in normal form", { "\u00e9": "1", "e\u0301": "2" }, /only in case/],
  ["has too long a name", { ["n".repeat(256)]: "x" }, /too long a name/],
  ["is too deep", { [`${"d/".repeat(101)}x`]: "x" }, /too deep/],
];

test.each(attacks)(
  "an archive with an entry that %s is refused, and nothing of it stays",
  async (_name, tree, message) => {
    const { data } = await archive({ "ok.txt": "ok", ...tree });
    await expectRefused(data, "invalid_archive", message);
    await expect(stat("/tmp/evil")).rejects.toThrow("ENOENT");
  },
);

test("a good archive comes out as it went in, with executables and links", async () => {
  const { data } = await archive({
    "./": { type: "directory" },
    "src/": { type: "directory" },
    "src/app.ts": "app",
    "bin/run": "#!/bin/sh\n",
    "src/link": { type: "symlink", linkname: "../bin/./run" },
    "second-name": { type: "link", linkname: "src/app.ts" },
    [`${"long/".repeat(30)}name`]: "long",
    "grüße.txt": "umlaut",
  });
  const tree = await unpackData(data);
  expect(await readFile(join(tree, "src/link"), "utf8")).toBe("#!/bin/sh\n");
  expect(await readFile(join(tree, "second-name"), "utf8")).toBe("app");
  expect(await readFile(join(tree, `${"long/".repeat(30)}name`), "utf8")).toBe("long");
  expect(await readFile(join(tree, "grüße.txt"), "utf8")).toBe("umlaut");
});

test("modes are cut to plain and executable", async () => {
  const entries: TarEntry[] = [
    { header: { name: "suid", size: 1, type: "file", mode: 0o4777 }, body: "x" },
    { header: { name: "secret", size: 1, type: "file", mode: 0o000 }, body: "x" },
  ];
  const tree = await unpackData(gzipSync(await packTar(entries)));
  expect(((await stat(join(tree, "suid"))).mode & 0o7777).toString(8)).toBe("755");
  expect(((await stat(join(tree, "secret"))).mode & 0o7777).toString(8)).toBe("644");
});

test("what isn't gzip is refused as it arrives", async () => {
  for (const data of [Buffer.from("hello"), Buffer.alloc(0), Buffer.from([0x1f]), await packTar([])]) {
    await expect(sources.put(Readable.from([data]))).rejects.toEqual(problem("invalid_archive"));
  }
  const split = gzipSync(await packTar([]));
  await sources.put(Readable.from([split.subarray(0, 1), split.subarray(1)]));
  await expect(sources.put(Readable.from([Buffer.from([0x1f]), Buffer.from("x")]))).rejects.toEqual(
    problem("invalid_archive"),
  );
});

test("gzip that isn't a tar archive, and damaged or cut off archives are refused", async () => {
  const { data } = await archive({ "a.txt": "a".repeat(100_000), "b.txt": "b" });
  await expectRefused(gzipSync(Buffer.from("no tar at all".repeat(100))), "invalid_archive");
  await expectRefused(data.subarray(0, data.length - 20), "invalid_archive");
  await expectRefused(data.subarray(0, 40), "invalid_archive");
  const damaged = Buffer.from(data);
  damaged[data.length - 6] = (damaged[data.length - 6] ?? 0) ^ 0xff; // the checksum
  await expectRefused(damaged, "invalid_archive");
  const whole = await packTar([
    { header: { name: "a", size: 5_000, type: "file" }, body: "x".repeat(5_000) },
  ]);
  await expectRefused(gzipSync(whole.subarray(0, 2_000)), "invalid_archive", /truncated/);
});

test("an upload with a wrong hash, or one that breaks off, is not stored", async () => {
  const { data, sha256 } = await archive({ a: "a" });
  const wrong = sha256.replace(/^./, (digit) => (digit === "0" ? "1" : "0"));
  await expect(sources.put(Readable.from([data]), { sha256: wrong })).rejects.toEqual(
    problem("hash_mismatch"),
  );
  async function* breakingOff(): AsyncGenerator<Buffer> {
    yield data.subarray(0, 50);
    throw new Error("the socket closed");
  }
  await expect(sources.put(breakingOff())).rejects.toThrow("the socket closed");
  expect(await sources.list()).toEqual([]);
  expect(await readdir(join(root, "store", ".uploads"))).toEqual([]);
  expect(await sources.put(Readable.from([data]), { sha256 })).toEqual({ sha256, bytes: data.length });
  expect(await sources.put(Readable.from([data]), { sha256 })).toEqual({ sha256, bytes: data.length });
  expect(await sources.find(sha256)).toEqual({ sha256, bytes: data.length });
  expect(await sources.find("../../etc/passwd")).toBeNull();
});

test("a source that was damaged on the disk isn't deployed", async () => {
  const { data } = await archive({ a: "a" });
  const { sha256: other } = hashed(Buffer.from("other"));
  const room = await disk.reserve(0);
  const path = join(root, "store", "x");
  await writeFile(path, data);
  await mkdir(join(root, "tree"));
  await expect(unpack(path, other, join(root, "tree"), { room })).rejects.toEqual(problem("hash_mismatch"));
});

test("an upload is cut off at its limit, whether or not it says its size", async () => {
  const limit = 4 * 1024 * 1024;
  await expect(sources.put(Readable.from([]), { bytes: limit + 1 })).rejects.toEqual(problem("too_large"));
  let sent = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    yield Buffer.from([0x1f, 0x8b]);
    for (;;) {
      sent += 65_536;
      yield Buffer.alloc(65_536);
    }
  }
  await expect(sources.put(endless())).rejects.toEqual(problem("too_large"));
  expect(sent).toBeLessThan(limit + 2 * 65_536);
});

test("a bomb is stopped at the limit of what it may unpack to", async () => {
  const zeros = Buffer.alloc(64 * 1024 * 1024);
  const packed = await packTar([
    { header: { name: "zeros", size: zeros.length, type: "file" }, body: zeros },
  ]);
  const bomb = hashed(gzipSync(packed));
  expect(bomb.data.length).toBeLessThan(100_000);
  const path = join(root, "store", "bomb");
  await writeFile(path, bomb.data);
  const room = await disk.reserve(0);
  await mkdir(join(root, "tree"));
  const limits = { room, unpackedLimitBytes: 8 * 1024 * 1024 };
  await expect(unpack(path, bomb.sha256, join(root, "tree"), limits)).rejects.toEqual(
    problem("archive_too_large"),
  );
  expect((await stat(join(root, "tree", "zeros"))).size).toBeLessThanOrEqual(8 * 1024 * 1024);
});

test("a bomb of metadata is stopped too", async () => {
  const records = await packTar([
    { header: { name: "a", size: 0, type: "file", pax: { comment: "x".repeat(9 * 1024 * 1024) } } },
  ]);
  await expectRefused(gzipSync(records), "invalid_archive", /metadata/);
});

test("an archive of more than 100,000 entries is refused", async () => {
  const entries = Array.from({ length: 100_001 }, (_, index): TarEntry => {
    return { header: { name: "d/", size: 0, type: "directory", uid: index % 7 } };
  });
  await expectRefused(gzipSync(await packTar(entries), { level: 1 }), "archive_too_large", /100000 entries/);
});

test("an archive whose entries imply more than 100,000 directories is refused", async () => {
  const entries = Array.from({ length: 2_100 }, (_, index): TarEntry => {
    return { header: { name: `${index}/${"d/".repeat(48)}x`, size: 0, type: "file" } };
  });
  const bomb = gzipSync(await packTar(entries));
  expect(bomb.length).toBeLessThan(100_000);
  await expectRefused(bomb, "archive_too_large", /100000 entries and directories/);
});
