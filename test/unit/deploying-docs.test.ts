import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { parseInvocation } from "../../scripts/cli/arguments.ts";
import { planDeployment } from "../../scripts/cli/deploy/plan.ts";
import { commands } from "../../scripts/cli/commands/index.ts";

const text = readFileSync(join(projectRoot, "docs/deploying.md"), "utf8");
const made: string[] = [];
afterAll(() => {
  for (const directory of made) rmSync(directory, { recursive: true });
});

const fixture = (name: string) => (): string => join(projectRoot, "test/fixtures/frameworks", name);
function written(name: string, content: string): () => string {
  return () => {
    const directory = mkdtempSync(join(tmpdir(), "signalbox-docs-"));
    made.push(directory);
    writeFileSync(join(directory, name), content);
    return directory;
  };
}
const express = { scripts: { start: "node server.js" }, dependencies: { express: "5.1.0" } };

/** What `docs/deploying.md` says of a framework, and an app that its starter makes. */
const APPS: Record<string, () => string> = {
  Vite: fixture("vite-spa"),
  Next: fixture("next"),
  SvelteKit: fixture("sveltekit"),
  Nuxt: fixture("nuxt"),
  Astro: fixture("astro"),
  "React Router": fixture("react-router"),
  "TanStack Start": fixture("tanstack-start"),
  Express: written("package.json", JSON.stringify(express)),
  "A static site": written("index.html", "hello"),
};

const [, frameworks = ""] = text.split("\n## By framework\n");
const sections = new Map(
  frameworks
    .split("\n### ")
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf("\n")), section]),
);

describe("docs/deploying.md", () => {
  test("has a section for each framework", () => {
    expect([...sections.keys()]).toEqual(Object.keys(APPS));
  });

  test.each(Object.entries(APPS))("%s: shows what deploy prints", (name, app) => {
    const [, shown = ""] = /^```\n([^`]*)^```$/m.exec(sections.get(name) ?? "") ?? [];
    expect(shown).toBe(["$ signalbox deploy", ...decided(app()), ""].join("\n"));
  });

  test("Astro: shows what deploy prints without an adapter", () => {
    const [line] = decided(fixture("astro-static")()).filter((one) => one.includes(" start "));
    expect(sections.get("Astro")).toContain(line);
  });

  test.each(
    [...text.matchAll(/`(signalbox [^`\n]+)`|^(signalbox .*)$/gm)].map(
      ([, inline, line]) => inline ?? line ?? "",
    ),
  )("%s is a command", (line) => {
    const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");
    expect(() => parseInvocation(words.slice(1), commands)).not.toThrow();
  });
});

function decided(directory: string): string[] {
  const { decisions } = planDeployment({}, { file: null, directory, config: {} }, directory);
  return decisions.map(({ what, value, why }) => `  ${what.padEnd(8)} ${value}  (${why})`);
}
