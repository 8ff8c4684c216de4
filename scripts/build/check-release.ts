import { readFile } from "node:fs/promises";

/**
 * For the release workflow: `node scripts/build/check-release.ts v0.2.0` fails unless both packages and the lock have the tag's
 * version and the changelog has an entry for it, which it prints.
 */
const version = (process.argv[2] ?? "").replace(/^v/, "");
const wrong: string[] = [];

for (const [file, ...path] of [
  ["package.json", "version"],
  ["sdk/package.json", "version"],
  ["package-lock.json", "version"],
  ["package-lock.json", "packages", "sdk", "version"],
] as const) {
  const document: unknown = JSON.parse(await read(file));
  const found = path.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document);
  if (found !== version) wrong.push(`${file} has ${String(found)} in ${path.join(".")}`);
}
const entry = entryOf(await read("CHANGELOG.md"));
if (entry === undefined) wrong.push("CHANGELOG.md has no entry for it");

if (wrong.length > 0) {
  console.error(`${version || "No tag"} isn't what this commit releases: ${wrong.join("; ")}.`);
  process.exit(1);
}
console.log(entry);

function read(file: string): Promise<string> {
  return readFile(new URL(`../../${file}`, import.meta.url), "utf8");
}

/** From the version's heading to the next. */
function entryOf(changelog: string): string | undefined {
  return changelog
    .split(/^(?=##? \[?\d)/m)
    .find((part) => /^##? \[?([\d.]+)/.exec(part)?.[1] === version)
    ?.trim();
}
