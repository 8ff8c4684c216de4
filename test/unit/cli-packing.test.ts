import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { lstatSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { buffer } from "node:stream/consumers";
import { promisify } from "node:util";
import { unpackTar } from "modern-tar";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { packTree } from "../../scripts/cli/packing/archive.ts";
import { identityOf, readSourceTree } from "../../scripts/cli/packing/source-tree.ts";
import { EntryGuard } from "../../runner/sources/entry-guard.ts";

const run = promisify(execFile);
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-pack-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function write(files: Record<string, string>, directory = root): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
}

/** All that a process has written so far. */
function writtenBytes(pid: number | undefined): number {
  return Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}

async function listed(directory = root, alone = false): Promise<string[]> {
  return (await readSourceTree(directory, { alone })).entries.map(({ path }) => path);
}

async function pack(directory = root): Promise<{ sha256: string; bytes: Buffer }> {
  const archive = await packTree(await readSourceTree(directory, { alone: false }));
  const bytes = await buffer(archive.open());
  archive.remove();
  expect(createHash("sha256").update(bytes).digest("hex")).toBe(archive.sha256);
  expect(bytes.length).toBe(archive.bytes);
  return { sha256: archive.sha256, bytes };
}

describe("what belongs to a source", () => {
  test("files that .gitignore names stay out, in every directory by its own rules", async () => {
    await write({
      ".gitignore": "*.log\n/build\n!keep.log\n",
      "a.log": "",
      "keep.log": "",
      "build/out.js": "",
      "src/build/in.js": "",
      "src/b.log": "",
      "src/.gitignore": "!b.log\ngenerated/\n",
      "src/generated/x.js": "",
      "src/generated.js": "",
    });
    expect(await listed()).toEqual([
      ".gitignore",
      "keep.log",
      "src/.gitignore",
      "src/b.log",
      "src/build/in.js",
      "src/generated.js",
    ]);
  });

  test(".signalboxignore adds to .gitignore and can take back what it says", async () => {
    await write({
      ".gitignore": "dist/\n",
      ".signalboxignore": "!dist/\nnotes.md\n",
      "dist/server.js": "",
      "notes.md": "",
      "index.js": "",
    });
    expect(await listed()).toEqual([".gitignore", ".signalboxignore", "dist/server.js", "index.js"]);
  });

  test("history, installed modules and the local stack's secrets never belong to it", async () => {
    await write({
      ".signalboxignore": "!node_modules\n!.git\n!.signalbox\n",
      ".git/config": "",
      "node_modules/a/index.js": "",
      "packages/b/node_modules/c/index.js": "",
      "packages/b/index.js": "",
      ".signalbox/local.json": "",
    });
    expect(await listed()).toEqual([".signalboxignore", "packages/b/index.js"]);
  });

  test("a directory inside a repository follows the rules above it, unless it was made for packing", async () => {
    await write({
      ".git/HEAD": "",
      ".gitignore": "out/\n*.tmp\n",
      "app/out/a.js": "",
      "app/b.tmp": "",
      "app/c.js": "",
    });
    expect(await listed(join(root, "app"))).toEqual(["c.js"]);
    expect(await listed(join(root, "app/out"), true)).toEqual(["a.js"]);
  });

  test("what is ignored as a directory isn't as a file", async () => {
    await write({ ".gitignore": "cache/\n", cache: "a file" });
    expect(await listed()).toEqual([".gitignore", "cache"]);
  });

  test("sockets are left out and named", async () => {
    await write({ "index.js": "" });
    const server = createServer().listen(join(root, "app.sock"));
    await once(server, "listening");
    expect(await readSourceTree(root, { alone: false })).toMatchObject({
      skipped: ["app.sock"],
      entries: [{ path: "index.js" }],
    });
    server.close();
  });

  test.each<[string, Record<string, string>, string[]]>([
    [
      "a directory that a nearer file takes back",
      { ".gitignore": "dist\n", "packages/app/.signalboxignore": "!dist\n", "packages/app/dist/x.js": "" },
      [".gitignore", "packages/app/.signalboxignore", "packages/app/dist/x.js"],
    ],
    [
      "the same with stars before it",
      { ".gitignore": "**/vendor/\n", "a/.gitignore": "!vendor\n", "a/vendor/x.js": "", "b/vendor/x.js": "" },
      [".gitignore", "a/.gitignore", "a/vendor/x.js"],
    ],
  ])("%s is kept with what is in it", async (_name, files, kept) => {
    await write(files);
    expect(await listed()).toEqual(kept);
  });

  test("a directory with nothing in it can't be packed", async () => {
    await write({ ".gitignore": "*\n" });
    await expect(readSourceTree(root, { alone: false })).rejects.toMatchObject({ code: "nothing_to_pack" });
  });
});

describe("names", () => {
  test.each([["a\\b.txt"], ["c:foo.txt"], [`${"n".repeat(200)}/${"d/".repeat(101)}x`]])(
    "%s, which a runner refuses, is refused before anything is packed",
    async (name) => {
      await write({ "index.js": "", [name]: "" });
      await expect(readSourceTree(root, { alone: false })).rejects.toMatchObject({ code: "bad_name" });
      await write({ ".signalboxignore": `${name.split("/")[0]?.replaceAll("\\", "\\\\")}\n` });
      expect(await listed()).toContain("index.js");
    },
  );

  test.each([
    ["Readme.md", "README.md"],
    ["\u00e9.txt", "e\u0301.txt"],
    ["Src/a.js", "src/b.js"],
  ])("%s beside %s is refused, naming both", async (one, other) => {
    await write({ [one]: "", [other]: "" });
    const refusal: unknown = await readSourceTree(root, { alone: false }).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "bad_name" });
    for (const name of [one, other]) expect(String(refusal)).toContain(name.split("/")[0]);
  });

  test("one that isn't UTF-8 is called that, unless it is ignored", async () => {
    await write({ "index.js": "" });
    const name = Buffer.from([0x61, 0xff, 0x62]);
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), name]), "");
    await expect(readSourceTree(root, { alone: false })).rejects.toMatchObject({
      code: "bad_name",
      message: expect.stringContaining("isn't UTF-8"),
    });
    await write({ ".gitignore": "a?b\n" });
    expect(await listed()).toEqual([".gitignore", "index.js"]);
  });

  test("a link to a name that isn't UTF-8 is called that", async () => {
    await write({ "index.js": "" });
    symlinkSync(Buffer.from([0x61, 0xff, 0x62]), join(root, "link"));
    await expect(readSourceTree(root, { alone: false })).rejects.toMatchObject({
      code: "bad_name",
      message: expect.stringContaining("isn't UTF-8"),
    });
  });
});

describe("what changes meanwhile", () => {
  test("files that come and go don't end the walk", async () => {
    await write(Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`stays/${at}.js`, ""])));
    await mkdir(join(root, "temporary"));
    const ending = new AbortController();
    const changing = (async () => {
      for (let at = 0; !ending.signal.aborted; at++) {
        const file = join(root, "temporary", `${at}`);
        await writeFile(file, "");
        await rm(file);
      }
    })();
    try {
      for (let round = 0; round < 50; round++) {
        const paths = await listed();
        expect(paths.filter((path) => path.startsWith("stays/"))).toHaveLength(200);
      }
    } finally {
      ending.abort();
      await changing;
    }
  });

  test.each([
    ["a link", (file: string) => symlink("/etc/hostname", file)],
    ["another file", (file: string) => writeFile(file, "other")],
    ["a named pipe", (file: string) => run("mkfifo", [file])],
  ])("a file that is swapped for %s isn't packed", async (_name, swap) => {
    await write({ "a.txt": "12345", "b.txt": "12345" });
    const tree = await readSourceTree(root, { alone: false });
    await writeFile(join(root, "keeps-the-inode"), "");
    await rename(join(root, "b.txt"), join(root, "moved"));
    await swap(join(root, "b.txt"));
    await expect(packTree(tree)).rejects.toMatchObject({
      code: "source_changed",
      message: expect.stringContaining("b.txt was replaced"),
    });
  });

  test("a named pipe called local.json doesn't stop the packing", async () => {
    await write({ "a.txt": "1", "sub/b.txt": "2" });
    await run("mkfifo", [join(root, "sub", "local.json")]);
    expect(await listed()).toEqual(["a.txt", "sub/b.txt"]);
  });

  test("a file in a directory that is swapped for a link isn't packed", async () => {
    await write({ "in/a.txt": "12345", "out/a.txt": "secret" });
    const tree = await readSourceTree(root, { alone: false });
    await rename(join(root, "in"), join(root, "moved"));
    await symlink("out", join(root, "in"));
    await expect(packTree(tree)).rejects.toMatchObject({ code: "source_changed" });
  });

  test("a file that vanishes is called that", async () => {
    await write({ "a.txt": "1", "b.txt": "2" });
    const tree = await readSourceTree(root, { alone: false });
    await rm(join(root, "b.txt"));
    await expect(packTree(tree)).rejects.toMatchObject({
      message: expect.stringContaining("b.txt vanished"),
    });
  });
});

describe("secrets of Signalbox", () => {
  test("the home of a local stack isn't packed, whatever its name", async () => {
    await write({
      "index.js": "",
      "home/local.json": '{"url":"http://localhost:8787","controlToken":"secret"}',
      "home/state/x": "",
      "named/x": "",
      "other/local.json": "{}",
      "emptied/local.json": "",
      "emptied/state/store.sqlite": "",
    });
    const tree = await readSourceTree(root, { alone: false, secret: [join(root, "named")] });
    expect(tree.entries.map(({ path }) => path)).toEqual(["index.js", "other/local.json"]);
    expect(tree.skipped.sort()).toEqual(["emptied/", "home/", "named/"]);
    await expect(readSourceTree(join(root, "home"), { alone: true })).rejects.toMatchObject({
      code: "secret_directory",
    });
  });
});

describe("symbolic links", () => {
  test.each([
    ["to a neighbour", "link", "target.js"],
    ["upward within the source", "a/b/link", "../../target.js"],
    ["to something that isn't there", "link", "missing.js"],
  ])("%s are kept as they are", async (_name, path, target) => {
    await write({ "target.js": "" });
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
    const { bytes } = await pack();
    const link = (await unpackTar(gunzipSync(bytes))).find(({ header }) => header.name === path);
    expect(link?.header).toMatchObject({ type: "symlink", linkname: target });
  });

  test.each([
    ["out of the source", "link", "../secret"],
    ["out of the source from below", "a/link", "../../secret"],
    ["to an absolute path", "link", "/etc/passwd"],
    ["up again after going down", "link", "a/../../secret"],
  ])("%s are refused, naming the link", async (_name, path, target) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
    await expect(readSourceTree(root, { alone: false })).rejects.toMatchObject({
      code: "link_outside",
      message: expect.stringContaining(path),
    });
  });
});

describe("the archive", () => {
  test("the same files make the same bytes, whatever their times, owners' rights and order of creation", async () => {
    const other = join(root, "other");
    const one = join(root, "one");
    await write({ "b/x.js": "1", "a.js": "2", "a/y.js": "3", "a-z.js": "4" }, one);
    await write({ "a-z.js": "4", "a/y.js": "3", "a.js": "2", "b/x.js": "1" }, other);
    await chmod(join(other, "a.js"), 0o600);
    await utimes(join(other, "a.js"), 1, 1);
    expect((await pack(one)).sha256).toBe((await pack(other)).sha256);
    await chmod(join(other, "a.js"), 0o755);
    expect((await pack(one)).sha256).not.toBe((await pack(other)).sha256);
  });

  test("a runner takes every entry, and finds contents and executable bits in it", async () => {
    await write({ "bin/run.sh": "#!/bin/sh\n", "empty.txt": "", "ünïcode/ŝ.txt": "ü" });
    await write({ [`${"deep/".repeat(40)}long-file-name.txt`]: "long" });
    await chmod(join(root, "bin/run.sh"), 0o755);
    const entries = await unpackTar(gunzipSync((await pack()).bytes));
    const guard = new EntryGuard();
    for (const { header } of entries) expect(guard.check(header)).not.toBeNull();
    const named = Object.fromEntries(
      entries.map(({ header, data }) => [
        header.name,
        { mode: header.mode, text: new TextDecoder().decode(data) },
      ]),
    );
    expect(named["bin/run.sh"]).toEqual({ mode: 0o755, text: "#!/bin/sh\n" });
    expect(named["ünïcode/ŝ.txt"]?.text).toBe("ü");
    expect(named["empty.txt"]).toEqual({ mode: 0o644, text: "" });
  });

  test("a file that became shorter meanwhile stops the packing, and nothing is left", async () => {
    await write({ "a.txt": "1234567890" });
    const tree = await readSourceTree(root, { alone: false });
    await writeFile(join(root, "a.txt"), "12");
    await expect(packTree(tree)).rejects.toMatchObject({ code: "source_changed" });
  });

  test.each(["while it is packed", "when it is packed"])(
    "leaves nothing behind when the process is killed %s",
    async (when) => {
      const [temporary, zeros] = [join(root, "tmp"), join(root, "zeros.bin")];
      await mkdir(temporary);
      // Noise is in the archive soon; a gigabyte of zeros takes seconds after it.
      const sizes = [1024 * 1024, when === "when it is packed" ? 1024 * 1024 : 1024 ** 3];
      await writeFile(zeros, "");
      await truncate(zeros, sizes[1]);
      const source = new URL("../../scripts/cli/packing/archive.ts", import.meta.url).href;
      const noise = join(root, "noise.bin");
      await writeFile(noise, randomBytes(1024 * 1024));
      const entries = [noise, zeros].map((file, index) => ({
        kind: "file",
        path: file.slice(1),
        file,
        bytes: sizes[index],
        identity: identityOf(lstatSync(file, { bigint: true })),
      }));
      const program = `
        const { packTree } = await import(${JSON.stringify(source)});
        const archive = await packTree({ directory: "x", entries: ${JSON.stringify(entries)}, bytes: 0, skipped: [] });
        let bytes = 0;
        for await (const chunk of archive.open()) bytes += chunk.length;
        console.log("packed", bytes === archive.bytes);
        setInterval(() => {}, 1_000);
      `;
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
        env: { ...process.env, TMPDIR: temporary },
        stdio: ["ignore", "pipe", "inherit"],
      });
      if (when === "when it is packed") {
        const [line] = await once(child.stdout, "data");
        expect(String(line)).toBe("packed true\n");
      } else {
        await expect.poll(() => writtenBytes(child.pid), { timeout: 30_000 }).toBeGreaterThan(512 * 1024);
        expect(child.exitCode).toBeNull();
      }
      child.kill("SIGKILL");
      await once(child, "close");
      expect(await readdir(temporary)).toEqual([]);
    },
  );

  test("can be read several times, at the same time as well", async () => {
    await writeFile(join(root, "noise.bin"), randomBytes(1024 * 1024));
    const archive = await packTree(await readSourceTree(root, { alone: false }));
    const [one, other] = await Promise.all([buffer(archive.open()), buffer(archive.open())]);
    archive.open().destroy();
    const last = await buffer(archive.open());
    archive.remove();
    archive.remove();
    for (const read of [one, other, last]) {
      expect(createHash("sha256").update(read).digest("hex")).toBe(archive.sha256);
    }
  });

  test("a large file goes through in pieces", async () => {
    const size = 256 * 1024 * 1024;
    await writeFile(join(root, "zeros.bin"), "");
    await truncate(join(root, "zeros.bin"), size);
    const tree = await readSourceTree(root, { alone: false });
    let peak = 0;
    const sampling = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    }, 5);
    const before = process.memoryUsage().arrayBuffers;
    const archive = await packTree(tree);
    clearInterval(sampling);
    expect(peak - before).toBeLessThan(size / 2);
    expect(archive.bytes).toBeLessThan(1024 * 1024);
    archive.remove();
  });
});
