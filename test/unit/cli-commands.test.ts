import { execFile } from "node:child_process";
import { writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { EventSourceMessage } from "eventsource-parser";
import { describe, expect, test } from "vitest";
import { parseInvocation } from "../../scripts/cli/arguments.ts";
import { age, bytes, duration } from "../../scripts/cli/ages.ts";
import { commands } from "../../scripts/cli/commands/index.ts";
import { isNamed } from "../../scripts/cli/commands/delete.ts";
import { everywhere, type Command } from "../../scripts/cli/command.ts";
import { completionScript } from "../../scripts/cli/completions.ts";
import { commandHelp, overview } from "../../scripts/cli/help.ts";
import { main } from "../../scripts/cli/main.ts";
import { Output } from "../../scripts/cli/output.ts";
import { readEvents } from "../../scripts/cli/progress/event-stream.ts";
import { publicUrl } from "../../scripts/cli/public-url.ts";
import type { AppView, DeploymentView } from "../../scripts/client/control-types.ts";

const run = promisify(execFile);
/** Without old spellings. */
const listed = commands.filter(({ nowSpelled }) => nowSpelled === undefined);

describe("old spellings", () => {
  const read = (...argv: string[]) => parseInvocation(argv, commands);

  test.each([
    [["promote", "--deployment-id", "v1"], ["v1"]],
    [["redeploy", "--deployment-id", "v1"], ["v1"]],
    [["logs", "--deployment-id=v1"], ["v1"]],
    [["delete", "--deployment-id", "v1", "--yes"], ["v1"]],
    [
      ["canary", "set", "--deployment-id", "v1", "10"],
      ["v1", "10"],
    ],
    [["remove", "--deployment-name", "prod"], ["prod"]],
  ])("%j still work, and say the new one", (argv, given) => {
    const { arguments: taken, oldSpellings } = read(...argv);
    expect(taken).toEqual(given);
    expect(oldSpellings.at(-1)).toMatch(/^--deployment-(?:id|name) is now spelled: signalbox \w/);
  });

  test("logs --phase", () => {
    const { flags, oldSpellings } = read("logs", "--phase", "build");
    expect(flags["step"]).toBe("build");
    expect(oldSpellings).toEqual(["--phase is now spelled: --step"]);
    expect(() => read("logs", "--phase", "test")).toThrow("--phase must be install or build or start");
  });

  test.each([
    ["runners", "forget", "one"],
    ["remove", "prod"],
  ])("%s %s", (...argv) => {
    expect(read(...argv).oldSpellings[0]).toContain(" is now spelled: signalbox ");
  });

  test("a flag and an argument that say the same are fine, different ones are refused", () => {
    expect(read("promote", "v1", "--deployment-id", "v1").arguments).toEqual(["v1"]);
    expect(read("deploy", "--name", "a", "--deployment-name", "a").flags["name"]).toBe("a");
    for (const argv of [
      ["promote", "v1", "--deployment-id", "v2"],
      ["canary", "set", "v1", "10", "--deployment-id", "v2"],
      ["deploy", "--name", "a", "--deployment-name", "b"],
    ]) {
      expect(() => read(...argv)).toThrow(expect.objectContaining({ reason: "usage" }));
    }
  });

  test("aren't listed, and new ones say nothing", () => {
    expect(overview(commands)).not.toMatch(/forget|^ {2}remove/m);
    const promote = commands.find(({ name }) => name === "promote");
    expect(commandHelp(promote as Command)).not.toContain("deployment-id");
    expect(read("promote", "v1").oldSpellings).toEqual([]);
  });
});

test("flags are read wherever they stand, and two words can name a command", () => {
  const read = (...argv: string[]) => {
    const { command, flags, arguments: given } = parseInvocation(argv, commands);
    return { name: command?.name, flags, given };
  };
  expect(read("--json", "--config", "x.json", "status")).toMatchObject({
    name: "status",
    flags: { json: true, config: "x.json", all: false },
  });
  expect(read("runners", "drain", "one", "--undo")).toMatchObject({
    name: "runners drain",
    flags: { undo: true },
    given: ["one"],
  });
  expect(read("runners")).toMatchObject({ name: "runners" });
  expect(read("deploy", "--env", "A=1", "dir", "--env=B=-2")).toMatchObject({
    name: "deploy",
    flags: { env: ["A=1", "B=-2"] },
    given: ["dir"],
  });
  expect(read("logs", "-f", "-n", "5")).toMatchObject({
    flags: { follow: true, lines: "5" },
    given: [undefined],
  });
  expect(read("deploy", "--", "--odd-directory")).toMatchObject({ given: ["--odd-directory"] });
  expect(read("promote", "--help")).toMatchObject({ flags: { help: true } });
});

test.each([
  [["status", "--json=yes"], "--json takes no value"],
  [["logs", "-x"], "-x isn't a flag"],
  [["janitor"], "Say which: janitor run, janitor last"],
  [["deploy", "a", "b"], 'doesn\'t take the argument "b"'],
])("%j is refused", (argv, message) => {
  expect(() => parseInvocation(argv, commands)).toThrow(message);
});

test("every command is in the overview and has a help that fits a terminal", () => {
  for (const command of listed) {
    expect(overview(commands)).toContain(`  ${command.name} `);
    const help = commandHelp(command);
    for (const flag of Object.keys(command.flags)) expect(help).toContain(`--${flag}`);
    expect(Math.max(...help.split("\n").map((line) => line.length)), command.name).toBeLessThanOrEqual(120);
  }
});

test.each(["canary", "janitor", "railway", "runners"])(
  "%s has a help that lists what is below",
  async (word) => {
    const written = { stdout: "", stderr: "" };
    const sink = (name: keyof typeof written) => ({ write: (text: string) => (written[name] += text) });
    const world = {
      env: {},
      cwd: tmpdir(),
      interactive: false,
      readInput: async () => "",
      signal: new AbortController().signal,
    };
    for (const flag of ["--help", "-h"]) {
      const code = await main([word, flag], world, { stdout: sink("stdout"), stderr: sink("stderr") });
      expect([code, written.stderr]).toEqual([0, ""]);
    }
    const below = listed.filter(({ name }) => name.startsWith(`${word} `));
    expect(below.length).toBeGreaterThan(0);
    for (const { name, summary } of below) {
      expect(written.stdout).toContain(`  ${name} `);
      expect(written.stdout).toContain(summary);
    }
    expect(written.stdout).not.toContain("forget");
  },
);

test("every command that does something says so in the third person", () => {
  for (const { name, summary } of listed)
    expect(summary, name).not.toMatch(/^(?:run|make|write|give|set|check|delete|build|list) /);
});

test("bash completes commands, their second words and their flags", async () => {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-completion-"));
  const script = join(directory, "completion.bash");
  await writeFile(script, completionScript("bash", commands));
  const complete = async (...words: string[]): Promise<string[]> => {
    const line = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _signalbox; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await run("bash", ["-c", line, script, "signalbox", ...words]);
    return stdout.trim().split("\n");
  };
  expect(await complete("dep")).toEqual(["deploy"]);
  expect(await complete("re")).toEqual(["resume", "redeploy"]);
  expect(await complete("runners", "dr")).toEqual(["drain"]);
  expect(await complete("runners", "drain", "--un")).toEqual(["--undo"]);
  expect(await complete("deploy", "--det")).toEqual(["--detach"]);
  expect(await complete("canary", "")).toEqual(["set", "off"]);
  expect(await complete("completion", "")).toEqual(["bash", "zsh", "fish"]);
  expect(await complete("pause", "--mode", "")).toEqual(["hold", "refuse"]);
  expect(await complete("logs", "--app", "")).toEqual([""]);
  expect(await complete("status", "")).toContain("--json");
  expect(await complete("deploy", directory)).toEqual([directory]);
  expect(await complete("deploy", "--config", `${directory}/compl`)).toEqual([script]);
  await rm(directory, { recursive: true });
});

test("no completion script has an unpaired quote", () => {
  for (const shell of ["zsh", "fish"] as const) {
    const script = completionScript(shell, commands);
    expect(
      script.split("\n").filter((line) => !line.startsWith("#") && (line.split("'").length - 1) % 2 === 1),
    ).toEqual([]);
  }
});

test.each(["bash", "zsh", "fish"] as const)(
  "the script for %s knows every command and flag, in its place",
  (shell) => {
    const lines = completionScript(shell, commands).split("\n");
    for (const { name, flags } of listed) {
      const place = shell === "fish" ? `'__signalbox_at ${name}'` : `    '${name}') `;
      const about = lines.filter((line) => line.includes(place)).join("\n");
      for (const [flag, { type }] of Object.entries({ ...flags, ...everywhere })) {
        const said = shell === "fish" ? ` -l ${flag} ` : `--${flag}`;
        expect(about, `${name} ${flag}`).toContain(said);
        // After it comes its value, and no other flag.
        const takes =
          shell === "fish"
            ? new RegExp(` -l ${flag} (?:-s . )?-[rx] `).test(about)
            : lines.some((line) => line.startsWith(`    '${name} --${flag}') `));
        expect(takes, `${name} ${flag}`).toBe(type === "string");
      }
    }
  },
);

test("server-sent events are read whole, however they are cut, and comments are passed over", async () => {
  const text =
    'retry: 1000\n\n: still here\n\nid: 7\nevent: log\ndata: {"line":"ü"}\n\nevent: end\ndata: {}\n\n';
  const whole = new TextEncoder().encode(text);
  for (let size = 1; size < whole.length; size += 3) {
    const pieces = Array.from({ length: Math.ceil(whole.length / size) }, (_, index) =>
      whole.slice(index * size, (index + 1) * size),
    );
    const events: EventSourceMessage[] = [];
    for await (const event of readEvents(ReadableStream.from(pieces))) events.push(event);
    expect(events).toEqual([
      { id: "7", event: "log", data: '{"line":"ü"}' },
      { id: undefined, event: "end", data: "{}" },
    ]);
  }
});

test("a name stands for generated ids of that name that nothing takes away yet", () => {
  const deployment = (id: string, name: string, more: Partial<DeploymentView> = {}): DeploymentView =>
    ({ id, name, state: "draining", retirement: null, ...more }) as DeploymentView;
  expect(isNamed(deployment("prod-260402-120000", "prod"), "prod")).toBe(true);
  expect(
    isNamed(deployment("long-name--260402-120000", "long-name-that-is-cut"), "long-name-that-is-cut"),
  ).toBe(true);
  expect(isNamed(deployment("prod-260402-120000", "prod"), "pro")).toBe(false);
  expect(isNamed(deployment("prod-b-260402-120000", "prod-b"), "prod")).toBe(false);
  expect(isNamed(deployment("v1", "prod"), "prod")).toBe(false);
  expect(isNamed(deployment("prod-260402-120000", "prod", { state: "removed" }), "prod")).toBe(false);
  const leaving = { retirement: { reason: "deleted" } as DeploymentView["retirement"] };
  expect(isNamed(deployment("prod-260402-120000", "prod", leaving), "prod")).toBe(false);
});

test.each([
  ["http://localhost:8787", { name: "a", hosts: [], default: true }, "http://localhost:8787/"],
  ["http://localhost:8787", { name: "a", hosts: [], default: false }, "http://a.localhost:8787/"],
  [
    "http://127.0.0.1:8787",
    { name: "a", hosts: ["b.localhost"], default: false },
    "http://b.localhost:8787/",
  ],
  ["https://edge.test", { name: "a", hosts: ["a.test"], default: true }, "https://a.test/"],
  ["https://edge.test", { name: "a", hosts: [], default: true }, "https://edge.test/"],
  ["https://edge.test", { name: "a", hosts: [], default: false }, null],
])("on %s the app %j is opened at %s", (server, app, url) => {
  expect(publicUrl(app as unknown as AppView, server)).toBe(url);
});

test("results are one document for programs; remarks are for people only", () => {
  const written = { stdout: "", stderr: "" };
  const sink = (name: keyof typeof written) => ({ write: (text: string) => (written[name] += text) });
  const output = new Output({
    stdout: sink("stdout"),
    stderr: sink("stderr"),
    env: {},
    json: true,
    noColor: false,
  });
  output.say("hello");
  output.remark("by the way");
  output.result({ a: 1 }, () => "a is 1");
  expect(JSON.parse(written.stdout)).toEqual({ a: 1 });
  output.failure({ code: "bad", message: "It failed.", exitCode: 1 });
  expect(JSON.parse(written.stderr)).toEqual({ error: { code: "bad", message: "It failed.", exitCode: 1 } });
});

test.each([
  [{}, true],
  [{ NO_COLOR: "1" }, false],
  [{ NO_COLOR: "" }, true],
  [{ TERM: "dumb" }, false],
])("in a terminal with %j colours are %s", (env, coloured) => {
  let text = "";
  const sink = { write: (part: string) => (text += part), isTTY: true, columns: 80 };
  const output = new Output({ stdout: sink, stderr: sink, env, json: false, noColor: false });
  output.say(output.style.green("fine"));
  expect(text.includes("\u001b[")).toBe(coloured);
});

test("columns are as wide as their widest cell, colours aside", () => {
  const sink = { write: () => undefined, isTTY: true, columns: 80 };
  const output = new Output({ stdout: sink, stderr: sink, env: {}, json: false, noColor: false });
  const rows = [
    [output.style.green("long"), "x"],
    ["y", "z"],
  ];
  expect(output.rendered(output.table(["A", "B"], rows))).toBe(
    "\u001b[2mA     B\u001b[22m\n\u001b[32mlong\u001b[39m  x\ny     z",
  );
});

test("times and sizes are said in their largest unit", () => {
  const now = Date.parse("2026-01-02T00:00:00Z");
  expect(age("2026-01-01T23:59:58Z", now)).toBe("2 s");
  expect(age("2026-01-01T23:00:01Z", now)).toBe("59 min");
  expect(age("2025-12-30T00:00:00Z", now)).toBe("3 d");
  expect(age("2026-01-03T00:00:00Z", now)).toBe("0 s");
  expect([duration(1_234), duration(61_000)]).toEqual(["1.2 s", "1 min 1 s"]);
  expect([bytes(12), bytes(2_048), bytes(3 * 1024 ** 2)]).toEqual(["12 B", "2.0 KiB", "3.0 MiB"]);
});
