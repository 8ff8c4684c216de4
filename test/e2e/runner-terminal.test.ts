import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { runnerFile } from "../helpers/build-worker.ts";
import { BuildsOf } from "../helpers/builds.ts";
import { LiveTerminal } from "../helpers/live-terminal.ts";
import { viewRunner } from "../helpers/runner.ts";
import { RUNNER_SECRET, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
/** What the live view itself may write. */
const OWN = [
  "\u001b[?1049h",
  "\u001b[?25l",
  "\u001b[?25h",
  "\u001b[?1049l",
  "\u001b[?2026h",
  "\u001b[?2026l",
  "\u001b[H",
  "\u001b[J",
  "\u001b[K",
];

let stack: TestStack;
let home: string;
let terminal: LiveTerminal;
let builds: BuildsOf;

function environment(): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    RUNNER_ID: "laptop",
    RUNNER_SHARED_SECRET: RUNNER_SECRET,
    RUNNER_BROKER_URL: `ws://127.0.0.1:${stack.port}/_signalbox/socket`,
    WORKSPACE_ROOT: join(home, "workspace"),
    RUNNER_CONFINEMENT: "none",
    RUNNER_AGENT: AGENT,
    BROWSER: "true",
  };
}

beforeAll(async () => {
  stack = await startTestStack();
  home = await mkdtemp(join(tmpdir(), "signalbox-laptop-"));
  builds = new BuildsOf(stack);
  terminal = new LiveTerminal([process.execPath, runnerFile, "runner"], { env: environment() });
});
afterAll(async () => {
  terminal?.kill();
  await stack?.stop();
  await rm(home, { recursive: true, force: true, maxRetries: 5 });
});

test("in a terminal a runner shows its connection, its log and its keys", async () => {
  await terminal.shows(/● online to 127\.0\.0\.1:\d+ for/);
  expect(terminal.screen[0]).toContain("Signalbox runner laptop");
  await terminal.shows("runner id: laptop");
  expect(terminal.screen).toHaveLength(40);
  expect(terminal.screen.at(-1)).toContain("q drain and quit");
});

test("projects and builds appear as they come, and n and p go from build to build", async () => {
  const slug = await builds.newProject();
  await builds.run(slug, "page one");
  await builds.run(slug, "page two");
  await terminal.shows(new RegExp(`${slug} +.*last build completed`));
  // The newest is the first.
  await terminal.shows(/^. project-1 +completed .*page two/);
  await terminal.shows(/▸ .*page (?:one|two)/);
  const marked = (): string => terminal.screen.find((line) => line.startsWith("▸")) ?? "";
  terminal.type("p");
  await until(marked, (line) => line.includes("page two"));
  terminal.type("n");
  await until(marked, (line) => line.includes("page one"));
  terminal.type("\u001b[A");
  await until(marked, (line) => line.includes("page two"));
});

test("a dev server is there with its address; c copies it by OSC 52, o opens it", async () => {
  const slug = await builds.newProject();
  await builds.run(slug, "page hello");
  const line = await terminal.shows(new RegExp(`${slug} +running +http://localhost:\\d+`));
  const address = /http:\/\/localhost:\d+/.exec(line)?.[0] ?? "";
  for (let presses = 0; presses < 5; presses++) terminal.type("p");
  await terminal.shows(/▸ .*page hello/);
  terminal.type("c");
  await terminal.shows(`copied ${address}`);
  expect(terminal.raw).toContain(`\u001b]52;c;${Buffer.from(address).toString("base64")}\u0007`);
  terminal.type("o");
  await terminal.shows(`opens ${address}`);
});

test("/ filters the log as one types, and Esc ends that", async () => {
  terminal.type("/");
  await terminal.shows("Filter:");
  terminal.type("WORKSPACE root");
  await terminal.shows(/Log with "WORKSPACE root" \(1 of \d+ lines\)/);
  await terminal.lacks("runner id: laptop");
  terminal.type("\r");
  await terminal.shows("q drain and quit");
  terminal.type("\u001b");
  await terminal.shows("runner id: laptop");
});

test("r makes another connection", async () => {
  const { epoch } = await viewRunner(stack, "laptop");
  terminal.type("r");
  await until(
    () => viewRunner(stack, "laptop"),
    (seen) => seen.connected && seen.epoch > epoch,
  );
  await terminal.shows(/● online/);
});

test("nothing that others wrote steers the terminal", async () => {
  const slug = await builds.newProject();
  await builds.run(slug, "page \u001b]0;title\u0007\u001b[2J\u001b[31mred\u0007\nline");
  await terminal.shows(/page .*red/);
  const rest = OWN.reduce((text, sequence) => text.replaceAll(sequence, ""), terminal.raw)
    .replace(/\u001b\[(?:0|1|2|7|31|32|33|36)m/g, "")
    .replace(/\u001b\]52;c;[A-Za-z0-9+/=]*\u0007/g, "")
    .replace(/\r+\n/g, "");
  expect(/.{0,20}[\u0000-\u0008\u000b-\u001f\u007f-\u009f].{0,20}/.exec(rest)).toBeNull();
});

test("q drains and quits, and leaves the terminal as it was, with the log's end", async () => {
  terminal.type("q");
  expect(await terminal.exited).toBe(0);
  const after = terminal.raw.slice(terminal.raw.lastIndexOf("\u001b[?1049l"));
  expect(terminal.raw).toContain("\u001b[?25h");
  expect(after).toContain("shutting down");
  expect((await viewRunner(stack, "laptop")).connected).toBe(false);
});

test.each([
  ["in service mode", { NODE_ENV: "production", HEALTH_PORT: "0" }],
  ["in a terminal that can't be drawn on", { TERM: "dumb" }],
])("%s the lines are plain", async (_, more) => {
  const plain = new LiveTerminal([process.execPath, runnerFile, "runner"], {
    env: { ...environment(), ...more },
  });
  try {
    await until(
      () => plain.raw,
      (text) => text.includes("Connected to broker"),
    );
    expect(plain.raw).not.toContain("\u001b");
  } finally {
    plain.type("\u0003");
    await plain.exited;
  }
});
