import { describe, expect, test } from "vitest";
import { ansiLines, ansiText, visible } from "../../functions/dashboard/client/project/ansi.ts";
import { addEvent, newConversation } from "../../functions/dashboard/client/project/conversation.ts";
import type { BuildEvent, BuildFact } from "../../functions/protocol/builds.ts";

function told(...facts: BuildFact[]): ReturnType<typeof newConversation> {
  const conversation = newConversation();
  facts.forEach((fact, index) => addEvent(conversation, { ...fact, seq: index + 1, at: `t${index + 1}` }));
  return conversation;
}

describe("a build's conversation", () => {
  test("joins texts of one voice, and keeps what came between them apart", () => {
    const { items } = told(
      { type: "message", from: "user", text: "go" },
      { type: "message", from: "agent", text: "I " },
      { type: "message", from: "agent", text: "go." },
      { type: "thought", text: "Hm." },
      { type: "message", from: "agent", text: "Gone." },
    );
    expect(items.map((item) => ("text" in item ? item.text : ""))).toEqual(["go", "I go.", "Hm.", "Gone."]);
  });

  test("tells a call once, with what its updates said, and as another object after each", () => {
    const conversation = told({ type: "tool", id: "t1", title: "Write", status: "pending" });
    const [first] = conversation.items;
    addEvent(conversation, { type: "tool", id: "t1", status: "completed", output: "done", seq: 2, at: "t2" });
    expect(conversation.items).toMatchObject([
      { key: "1", title: "Write", status: "completed", output: "done" },
    ]);
    expect(conversation.items[0]).not.toBe(first);
  });

  test("puts an answer to its question, and a step's end to its beginning", () => {
    const { items, state, reason } = told(
      { type: "step", step: "agent", status: "begun" },
      { type: "question", request: "q1", title: "May I?", options: [] },
      { type: "state", state: "waiting", reason: "May I?" },
      { type: "answer", request: "q1", option: "yes", by: "operator" },
      { type: "step", step: "agent", status: "done", ms: 5 },
      { type: "step", step: "agent", status: "begun" },
    );
    expect(items).toMatchObject([
      { type: "step", status: "done", ms: 5, begunAt: "t1" },
      { type: "question", answer: { option: "yes", by: "operator" } },
      { type: "step", status: "begun" },
    ]);
    expect([state, reason]).toEqual(["waiting", "May I?"]);
  });

  test("takes each event once, and passes over those of a newer runner", () => {
    const conversation = told({ type: "message", from: "agent", text: "once" });
    const again: BuildEvent = { type: "message", from: "agent", text: "once", seq: 1, at: "t1" };
    addEvent(conversation, again);
    addEvent(conversation, { type: "hologram", seq: 2, at: "t2" } as unknown as BuildEvent);
    expect(conversation).toMatchObject({ seq: 2, items: [{ text: "once" }] });
  });
});

describe("what a terminal is told", () => {
  test("becomes text and colours", () => {
    expect(ansiLines("\u001b[1;31mred\u001b[0m plain\n\u001b[38;5;200mfar\u001b[44m blue")).toEqual([
      [
        { text: "red", look: "ansi-red ansi-bold" },
        { text: " plain", look: "" },
      ],
      [
        { text: "far", look: "" },
        { text: " blue", look: "ansi-back-blue" },
      ],
    ]);
  });

  test.each([
    ["a title", "\u001b]0;rm -rf\u0007left", "left"],
    ["a title that never ends", "kept\u001b]0;for ever", "kept"],
    ["a link", "\u001b]8;;https://evil.test\u001b\\here\u001b]8;;\u001b\\", "here"],
    ["a query and its answer", "\u001b[6n\u001b[c\u001bP+q544e\u001b\\x", "x"],
    ["cursor moves", "\u001b[2J\u001b[10;10Hx\u001b[K", "x"],
    ["the sequences' short forms", "\u009b31mx\u009d0;title\u009cy", "xy"],
    ["a line that is drawn anew", "10 %\r50 %\r100 %\r\nend", "100 %\nend"],
    ["a lone escape", "a\u001b", "a"],
    ["markup", "<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
  ])("%s shows nothing but its text", (_name, written, shown) => {
    expect(ansiText(written)).toBe(shown);
  });

  test("shows what would turn text round", () => {
    expect(visible("safe\u202egpj.exe\u0000")).toBe("safe⟨U+202E⟩gpj.exe\ufffd");
  });
});
