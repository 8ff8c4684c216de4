import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UnconnectedRunner } from "../helpers/unconnected-runner.ts";

let root: string;
let project: string;
let runner: UnconnectedRunner;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-export-"));
  runner = await UnconnectedRunner.start({ root, confinement: { level: "none" } });
  await runner.json("PUT", "/projects/shop", { name: "Shop", agent: null });
  project = join(root, "shop");
});
afterAll(async () => {
  await runner?.stop();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
});

async function exported(query = ""): Promise<string[]> {
  const answer = await fetch(`${runner.origin}/projects/shop/export${query}`);
  if (answer.status !== 200) return [await answer.text()];
  const input = Buffer.from(await answer.arrayBuffer());
  return execFileSync("tar", ["-tz"], { input, encoding: "utf8" }).trim().split("\n");
}

test("an export has the parts of a repository that are called as packages and caches are", async () => {
  for (const path of [".git/refs/heads/.cache/x", ".git/refs/heads/node_modules", "node_modules/pkg/x"]) {
    await mkdir(join(project, path, ".."), { recursive: true });
    await writeFile(join(project, path), "1");
  }
  for (const query of ["", "?whole=1"]) {
    const paths = await exported(query);
    expect(paths).toEqual(
      expect.arrayContaining([".git/refs/heads/.cache/x", ".git/refs/heads/node_modules"]),
    );
    expect(paths.join()).not.toContain("pkg");
  }
});

const strange: [string, string, () => Promise<void> | void][] = [
  ["a link out of the project", "sub/out", () => symlink("/etc/passwd", join(project, "sub/out"))],
  ["a name with a backslash", "sub/a\\b", () => writeFile(join(project, "sub/a\\b"), "1")],
  ["a pipe", "sub/pipe", () => void execFileSync("mkfifo", [join(project, "sub/pipe")])],
  [
    "a name that isn't UTF-8",
    "sub/caf\ufffd",
    () => writeFile(Buffer.from(join(project, "sub/caf\xe9"), "latin1"), "1"),
  ],
];

test.each(strange)(
  "an export leaves out %s, and one for a move is refused and names it",
  async (_, path, make) => {
    await mkdir(join(project, "sub"));
    await make();
    expect((await exported()).join("\n")).not.toContain(path);
    const [refusal = ""] = await exported("?whole=1");
    expect(refusal).toContain(JSON.stringify(JSON.stringify(path)).slice(1, -1));
    await rm(join(project, "sub"), { recursive: true });
  },
);
