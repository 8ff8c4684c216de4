import { once } from "node:events";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { createLog } from "../../runner/terminal/log.ts";
import { passOn } from "../../scripts/local/clean-output.ts";
import { answerLine } from "../../functions/protocol/answer-line.ts";
import { printable, printableLine } from "../../functions/protocol/printable.ts";

const ESC = "\u001b";

const texts: [name: string, text: string, shown: string][] = [
  ["plain text in any script stays", "Łódź 日本 🚂\tx\ny", "Łódź 日本 🚂\tx\ny"],
  ["colours go", `${ESC}[1;32m✓${ESC}[0m done`, "✓ done"],
  ["clearing and moving go", `${ESC}[2J${ESC}[1;1Hfresh${ESC}[K`, "fresh"],
  ["titles go", `${ESC}]0;owned\u0007after`, "after"],
  ["the clipboard stays its owner's", `${ESC}]52;c;ZXZpbA==${ESC}\\after`, "after"],
  ["links are their text", `${ESC}]8;;https://evil.test${ESC}\\here${ESC}]8;;${ESC}\\`, "here"],
  ["C1 forms go too", "\u009b2Jx\u009d0;t\u009cy", "xy"],
  ["a sequence without an end is shown", `${ESC}]0;never ends`, "␛]0;never ends"],
  ["a carriage return can't overwrite", "secret\rshown", "secret␍shown"],
  ["lines of Windows are lines", "a\r\nb", "a\nb"],
  ["bell, backspace, NUL and DEL are shown", "\u0007\b\0\u007f", "␇␈␀␡"],
  ["nothing turns the direction", "abc\u202egnp.exe\u2066", "abc\ufffdgnp.exe\ufffd"],
  ["a reset goes", `${ESC}cx`, "x"],
];
test.each(texts)("%s", (_name, text, shown) => {
  expect(printable(text)).toBe(shown);
});

test("no text leaves a control character behind", () => {
  const codes = Array.from({ length: 0xa0 }, (_, code) => code);
  for (const one of codes) {
    for (const other of codes) {
      const shown = printable(`${ESC}${String.fromCharCode(one, other)}x${String.fromCharCode(other)}`);
      // oxlint-disable-next-line no-control-regex
      expect(shown).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
    }
  }
});

test.each(["\u009d", "\u0090", `${ESC}]`, "\u009b", `${ESC}[`, `${ESC}[0;`, `${ESC} `])(
  "the beginnings of a sequence, %j, take linear time",
  (beginning) => {
    const started = performance.now();
    printable(beginning.repeat(64_000));
    // Quadratic time is half a minute.
    expect(performance.now() - started).toBeLessThan(5_000);
  },
);

test("one line is one line", () => {
  expect(printableLine("✗ failed\n✓ verify done")).toBe("✗ failed ✓ verify done");
});

test("an answer's line is a page's title, or the first line of a text", () => {
  expect(answerLine("text/html; charset=utf-8", "<!doctype html>\n<title>Not allowed</title>")).toBe(
    "Not allowed",
  );
  expect(answerLine("text/html", "<p>no title")).toBe("");
  expect(answerLine(null, "\n Blocked\nmore")).toBe("Blocked");
  expect(answerLine("text/plain", "x".repeat(1_000))).toHaveLength(160);
});

test("a runner's log shows what its peers say, and strikes its secrets out", () => {
  const lines: string[] = [];
  const log = createLog({ debug: true, secrets: ["hush"], write: (line) => lines.push(line) });
  const said = "closed: hu\u001b[0msh\u001b]52;c;AAAA\u0007\u001b[2J\n[runner] online";
  for (const level of ["info", "warn", "error", "debug"] as const) log[level](said);
  expect(new Set(lines)).toEqual(new Set(["closed: [secret]\n    [runner] online"]));
});

test("what a program writes is passed on line by line, without what steers a terminal", async () => {
  const from = new PassThrough();
  const to = new PassThrough();
  passOn(from, to);
  for (const part of ["one\ntw", "o\u001b[", "2Jx\n\u001b]0;t", "itle\u0007last"]) {
    from.write(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  from.end();
  await once(from, "end");
  to.end();
  expect(await text(to)).toBe("one\ntwox\nlast\n");
});
