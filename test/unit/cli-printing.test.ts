import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { main } from "../../scripts/cli/main.ts";
import { Output, type Sink } from "../../scripts/cli/output.ts";
import { Display } from "../../scripts/cli/progress/display.ts";

/** What a server or a build wrote must neither be obeyed by a terminal nor pass for a line of ours. */

const HOSTILE = [
  "\u001b]0;title\u0007",
  "\u001b]52;c;c2VjcmV0\u001b\\",
  "\u001b[2J\u001b[1;1H",
  "\u001b[8mhidden",
  "\u009b2J",
  "\u009d0;title\u009c",
  "\u001bc",
  "\rover",
  "\b\b\b",
  "\u202egnp.exe",
  "\u0000\u007f\u0085",
  "\n✓ verify done",
].join("x");

/** A terminal's own sequences are the colours that we write. */
const OURS = /\u001b\[(?:[1-9]|[1-9]\d)m/g;
const OBEYED = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

class Screen implements Sink {
  isTTY: boolean;
  columns?: number;
  text = "";

  constructor(columns?: number) {
    this.isTTY = columns !== undefined;
    if (columns !== undefined) this.columns = columns;
  }

  write(text: string): void {
    this.text += text;
  }
}

function outputTo(screen: Screen, more: { json?: boolean } = {}): Output {
  return new Output({ stdout: screen, stderr: screen, env: {}, json: more.json === true, noColor: false });
}

function expectHarmless(text: string): void {
  expect(text.replace(OURS, "")).not.toMatch(OBEYED);
  expect(text).not.toMatch(/^✓ verify done/m);
  expect(text).not.toContain("[8m");
}

test.each([undefined, 100])(
  "a hostile text is harmless in everything that is written (columns: %s)",
  (columns) => {
    const screen = new Screen(columns);
    const output = outputTo(screen);
    const line = HOSTILE.replaceAll("\n", " ");
    output.say(line);
    output.remark(line);
    output.say(output.table(["A", "B"], [[HOSTILE, output.style.green(HOSTILE)]]));
    output.say(output.style.bold(output.style.red(HOSTILE)));
    output.say(output.quoted(HOSTILE));
    output.failure({ code: "x", message: line, exitCode: 1 });
    expect(screen.text).toContain("hidden");
    expectHarmless(screen.text);
  },
);

test("our own colours come through, nested ones too", () => {
  const screen = new Screen(100);
  const output = outputTo(screen);
  output.say(`${output.style.green("●")} ${output.style.bold(output.style.red("x"))}`);
  expect(screen.text).toBe("\u001b[32m●\u001b[39m \u001b[1m\u001b[31mx\u001b[39m\u001b[22m\n");
});

test("a build can't forge a mark: neither by a line feed nor where a terminal breaks the line", () => {
  const screen = new Screen(40);
  // Not drawn in place, which needs a real terminal.
  const display = new Display(Object.assign(outputTo(screen), { live: false }));
  display.step(HOSTILE, "started", HOSTILE);
  display.step(HOSTILE, "failed", HOSTILE);
  display.log("one\n✓ verify done");
  const marked = screen.text.split("\n").filter((line) => /^(?:\u001b\[\d+m)*[✓✗●]/.test(line));
  expect(marked).toHaveLength(1);
  const narrow = outputTo(new Screen(40));
  const rows = narrow.rendered(narrow.quoted(`${" ".repeat(34)}✓ verify done`)).split("\n");
  expect(rows.length).toBeGreaterThan(1);
  for (const row of rows) expect(row).toContain("│");
});

test("--json stays exact, and a terminal that shows it obeys nothing of it", () => {
  const screen = new Screen();
  outputTo(screen, { json: true }).result({ text: HOSTILE }, () => "");
  expect(JSON.parse(screen.text)).toEqual({ text: HOSTILE });
  expect(screen.text).not.toMatch(OBEYED);
});

test.each([
  ["status", "--all"],
  ["runners"],
  ["logs", "v1"],
  ["janitor", "last"],
  ["promote", "v1"],
  ["rollback"],
])("signalbox %s %s writes nothing that a hostile server wants obeyed", async (...argv) => {
  const now = new Date().toISOString();
  const deployment = {
    id: HOSTILE,
    app: "shop",
    name: "prod",
    state: HOSTILE,
    stateSince: now,
    target: { kind: "runner", runnerId: HOSTILE },
    url: HOSTILE,
    failure: { code: HOSTILE, reason: HOSTILE, at: now },
    retirement: null,
    drainDeadline: null,
    redeploying: false,
  };
  const app = {
    name: "shop",
    hosts: [HOSTILE],
    default: true,
    active: HOSTILE,
    minimum: HOSTILE,
    previous: null,
    canary: null,
    paused: null,
    deleting: false,
    deployments: [deployment],
  };
  const answers: [RegExp, unknown][] = [
    [/\/logs/, { lines: [{ at: now, stream: "stdout", text: HOSTILE }], cursor: 0 }],
    [/\/promote/, null],
    [/\/deployments\/v1$/, { ...deployment, failure: null }],
    [
      /\/runners/,
      { runners: [{ id: HOSTILE, state: HOSTILE, reason: HOSTILE, since: now, protocol: HOSTILE }] },
    ],
    [
      /\/janitor/,
      {
        stale: true,
        report: {
          outcome: HOSTILE,
          finishedAt: now,
          errors: [{ app: HOSTILE, message: HOSTILE }],
          decisions: [
            { app: HOSTILE, deployment: HOSTILE, action: HOSTILE, reason: HOSTILE, detail: HOSTILE },
          ],
        },
      },
    ],
    [/./, { ...app, apps: [app] }],
  ];
  const server = createServer((request, response) => {
    const answer = answers.find(([path]) => path.test(request.url ?? ""))?.[1] ?? null;
    response.setHeader("content-type", "application/json");
    if (answer === null) response.statusCode = 409;
    response.end(JSON.stringify(answer ?? { code: HOSTILE, detail: HOSTILE }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const screen = new Screen(100);
  const world = {
    env: { SIGNALBOX_URL: url, SIGNALBOX_TOKEN: "t", HOME: tmpdir() },
    cwd: tmpdir(),
    interactive: false,
    readInput: () => Promise.resolve(""),
    signal: new AbortController().signal,
  };
  await main(
    [...argv, "--app", "shop"].slice(0, argv[0] === "runners" || argv[0] === "janitor" ? -2 : undefined),
    world,
    {
      stdout: screen,
      stderr: screen,
    },
  );
  server.closeAllConnections();
  server.close();
  expect(screen.text).toContain("hidden");
  expectHarmless(screen.text);
});
