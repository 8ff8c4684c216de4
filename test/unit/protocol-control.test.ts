import { describe, expect, test } from "vitest";
import {
  commandTypes,
  DRAIN_MESSAGE,
  drainOf,
  eventTypes,
  isCommandType,
  parseCommand,
  parseEvent,
} from "../../functions/protocol/control.ts";
import { Commands } from "../../runner/connection/commands.ts";
import { ProtocolError } from "../../functions/protocol/frames.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../../functions/protocol/limits.ts";

const timestamp = "2026-01-01T00:00:00.000Z";

describe("commands", () => {
  test.each(commandTypes)("of type %s come back", (type) => {
    const command = { id: "c1", type, projectId: "p", timestamp, payload: { deep: [1, { a: null }] } };
    expect(parseCommand(JSON.stringify(command))).toEqual(command);
    expect(isCommandType(type)).toBe(true);
  });

  test.each([
    [
      { trace: "t", baggage: "b" },
      { trace: "t", baggage: "b" },
    ],
    [{ trace: "t", baggage: 1, more: true }, { trace: "t" }],
    [{ trace: "x".repeat(8_193) }, undefined],
    ["t", undefined],
    [null, undefined],
  ])("keep of SentryVibe's trace %j what is one", (given, kept) => {
    expect(parseCommand(JSON.stringify({ id: "c", type: "read-file", _sentry: given })).trace).toEqual(kept);
  });

  test("are answered with the trace that they came with", async () => {
    const events: object[] = [];
    const commands = new Commands(
      (event) => events.push(event),
      () => undefined,
    );
    commands.handle("read-file", async (_command, { answer }) => answer({ type: "file-content" }));
    const trace = { trace: "t" };
    await commands.dispatch({ id: "c", type: "read-file", projectId: null, timestamp, payload: {}, trace });
    expect(events).toEqual([
      { type: "ack", commandId: "c", _sentry: trace },
      { type: "file-content", commandId: "c", _sentry: trace },
    ]);
  });

  test("of a later version are read all the same, with what may be missing filled in", () => {
    const command = parseCommand(JSON.stringify({ id: "c", type: "dance", extra: 1 }));
    expect(command).toMatchObject({ id: "c", type: "dance", projectId: null, payload: {} });
    expect(Date.parse(command.timestamp)).not.toBeNaN();
    expect(isCommandType("dance")).toBe(false);
  });

  test.each([
    ["no id", { type: "read-file" }],
    ["an empty id", { id: "", type: "read-file" }],
    ["an endless id", { id: "x".repeat(201), type: "read-file" }],
    ["a number for an id", { id: 1, type: "read-file" }],
    ["no type", { id: "c" }],
    ["an empty type", { id: "c", type: "" }],
    ["a number for a project", { id: "c", type: "read-file", projectId: 1 }],
    ["a list for a payload", { id: "c", type: "read-file", payload: [] }],
    ["text for a payload", { id: "c", type: "read-file", payload: "x" }],
  ])("with %s are refused", (_name, message) => {
    expect(() => parseCommand(JSON.stringify(message))).toThrow(ProtocolError);
  });
});

test.each([
  ["drain", { draining: true }, true],
  ["drain", { draining: false }, false],
  ["drain", {}, true],
  ["start-build", { draining: true }, null],
])("the hub's word %s with %j says about a drain: %j", (type, payload, wanted) => {
  expect(drainOf(parseCommand(JSON.stringify({ id: "c", type, payload })))).toBe(wanted);
  expect(isCommandType(DRAIN_MESSAGE)).toBe(false);
});

describe("events", () => {
  test.each(eventTypes)("of type %s come back with all their fields", (type) => {
    const event = { type, timestamp, commandId: "c", projectId: "p", line: "x", more: { a: [1] } };
    expect(parseEvent(JSON.stringify(event))).toEqual(event);
  });

  test("of a later version are none of this one's business", () => {
    expect(parseEvent(JSON.stringify({ type: "sang", commandId: 5 }))).toBeNull();
  });

  test("may say null for what they don't have", () => {
    const event = parseEvent(JSON.stringify({ type: "ack", timestamp, commandId: null, projectId: null }));
    expect(event).toEqual({ type: "ack", timestamp });
  });

  test("can't reach into objects through their names", () => {
    const event = parseEvent('{"type":"ack","__proto__":{"polluted":true},"constructor":1}');
    expect(Object.getPrototypeOf(event)).toBe(Object.prototype);
    expect({}).not.toHaveProperty("polluted");
  });

  test.each([
    ["no type", {}],
    ["an empty type", { type: "" }],
    ["a number for a type", { type: 1 }],
    ["a number for a command", { type: "ack", commandId: 1 }],
    ["a list for a project", { type: "ack", projectId: [] }],
  ])("with %s are refused", (_name, message) => {
    expect(() => parseEvent(JSON.stringify(message))).toThrow(ProtocolError);
  });
});

describe("a control message", () => {
  test.each(["", "nope", "1", "null", "[]", '"x"', "{", '{"type":"ack"} {}', "\u0000"])(
    "that is %j is refused",
    (message) => {
      expect(() => parseEvent(message)).toThrow(ProtocolError);
      expect(() => parseCommand(message)).toThrow(ProtocolError);
    },
  );

  test("is measured in bytes, not in characters", () => {
    const message = (filler: string): string => JSON.stringify({ type: "ack", filler });
    const room = CONTROL_MESSAGE_LIMIT_BYTES - message("").length;
    expect(parseEvent(message("x".repeat(room)))).toMatchObject({ type: "ack" });
    expect(() => parseEvent(message("x".repeat(room + 1)))).toThrow(ProtocolError);
    expect(() => parseEvent(message("é".repeat(room / 2 + 1)))).toThrow(ProtocolError);
  });
});
