// An agent that does what its prompt says, by the Agent Client Protocol on its standard input and output. It is written
// by hand, so that what a test sends on the wire is what stands here.

import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";

let cwd = process.cwd();
let nextId = 1;
/** Of the prompt. */
let blocks = [];
const waiting = new Map();
const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const answer = (id, result) => send({ id, result });
const update = (fields) => send({ method: "session/update", params: { sessionId: "s1", update: fields } });
const say = (text) => update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
const ask = (method, params) =>
  new Promise((resolve) => {
    const id = `agent-${nextId++}`;
    waiting.set(id, resolve);
    send({ id, method, params });
  });

const acts = {
  async everything() {
    const content = { type: "text", text: "text" };
    for (const fields of [
      { sessionUpdate: "user_message_chunk", content },
      { sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "I think." } },
      { sessionUpdate: "tool_call", toolCallId: "t1", title: "Write it", kind: "edit", status: "pending" },
      {
        sessionUpdate: "tool_call_update",
        toolCallId: "t1",
        status: "completed",
        content: [
          { type: "diff", path: `${cwd}/index.html`, oldText: "one\n", newText: "two\n" },
          { type: "content", content: { type: "text", text: "x".repeat(70_000) } },
        ],
      },
      { sessionUpdate: "plan", entries: [{ content: "First", priority: "high", status: "pending" }] },
      { sessionUpdate: "available_commands_update", availableCommands: [] },
      { sessionUpdate: "current_mode_update", currentModeId: "m" },
      { sessionUpdate: "config_option_update", configOptions: [] },
      { sessionUpdate: "session_info_update", title: "t" },
      { sessionUpdate: "usage_update", used: 10, size: 100, cost: { amount: 0.5, currency: "USD" } },
      { sessionUpdate: "notice", severity: "warning", message: "Take care." },
      { sessionUpdate: "compaction_update", status: "started" },
      { sessionUpdate: "compaction_summary_chunk", content },
      { sessionUpdate: "hologram_update", beam: 1 },
    ])
      update(fields);
    say("All ");
    say("done.");
  },
  async permission() {
    const outcome = await ask("session/request_permission", {
      sessionId: "s1",
      toolCall: { toolCallId: "t2", title: "Call the bank", kind: "fetch" },
      options: [
        { optionId: "%00 odd/ id", name: "Yes", kind: "allow_once" },
        { optionId: "no", name: "No", kind: "reject_once" },
      ],
    });
    say(`I was told ${JSON.stringify(outcome.outcome)}.`);
  },
  async inside() {
    const outcome = await ask("session/request_permission", {
      sessionId: "s1",
      toolCall: { toolCallId: "t3", title: "Edit", kind: "edit", locations: [{ path: `${cwd}/a.txt` }] },
      options: [{ optionId: "once", name: "Yes", kind: "allow_once" }],
    });
    say(`I was told ${JSON.stringify(outcome.outcome)}.`);
  },
  /** Says a text in every place that an agent can put one. */
  async hostile(text) {
    const content = [
      { type: "diff", path: `${cwd}/${text}`, oldText: text, newText: text },
      { type: "content", content: { type: "text", text } },
    ];
    update({ sessionUpdate: "agent_thought_chunk", content: { type: "text", text } });
    update({ sessionUpdate: "plan", entries: [{ content: text, priority: text, status: text }] });
    update({ sessionUpdate: "tool_call", toolCallId: text, title: text, kind: text, status: text, content });
    update({ sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount: 1, currency: text } });
    say(text);
    await ask("session/request_permission", {
      sessionId: "s1",
      toolCall: { toolCallId: "t4", title: text, kind: "fetch" },
      options: [{ optionId: "yes", name: `Let ${text}`, kind: "allow_once" }],
    });
  },
  async crash() {
    say("Going down.");
    setTimeout(() => process.exit(7), 50);
    await new Promise(() => {});
  },
  async half() {
    await writeFile(`${cwd}/half.txt`, "half\n");
    process.exit(7);
  },
  async terminal(command) {
    const where = { sessionId: "s1" };
    const { terminalId } = await ask("terminal/create", {
      ...where,
      command,
      cwd,
      env: [{ name: "GIVEN", value: "it's given" }],
    });
    const exit = await ask("terminal/wait_for_exit", { ...where, terminalId });
    const { output, exitStatus } = await ask("terminal/output", { ...where, terminalId });
    await ask("terminal/release", { ...where, terminalId });
    say(JSON.stringify({ exit, output, exitStatus }));
  },
  // Asks for a file that never ends and for a terminal, and waits for neither.
  async abandons() {
    const path = `${cwd}/pipe`;
    execFileSync("mkfifo", [path]);
    for (const [method, params] of [
      ["fs/read_text_file", { path }],
      ["terminal/create", { command: "sleep", args: ["98765"] }],
    ])
      ask(method, { sessionId: "s1", ...params }).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 500));
  },
  async killed() {
    const where = { sessionId: "s1" };
    const { terminalId } = await ask("terminal/create", { ...where, command: "sleep", args: ["1000"] });
    await ask("terminal/kill", { ...where, terminalId });
    say(JSON.stringify(await ask("terminal/wait_for_exit", { ...where, terminalId })));
  },
  async fs(path) {
    const where = { sessionId: "s1", path: path.replace("CWD", cwd) };
    const wrote = await ask("fs/write_text_file", { ...where, content: "one\ntwo\nthree\n" });
    const read = await ask("fs/read_text_file", { ...where, line: 2, limit: 1 });
    say(JSON.stringify({ wrote, read }));
  },
  async form() {
    const requestedSchema = {
      type: "object",
      properties: {
        colour: {
          type: "string",
          title: "Colour",
          oneOf: [
            { const: "r", title: "Red" },
            { const: "b", title: "Blue" },
          ],
        },
        name: { type: "string", title: "Name" },
      },
      required: ["colour", "name"],
    };
    say(
      JSON.stringify(
        await ask("elicitation/create", {
          sessionId: "s1",
          mode: "form",
          message: "Please say",
          requestedSchema,
        }),
      ),
    );
  },
  hang: () => new Promise(() => {}),
  async garbage() {
    process.stdout.write("Welcome! [1mbold[0m\n[1, 2]\n{ broken\n");
    process.stdout.write(
      `{"jsonrpc":"2.0","method":"session/update","params":"${"x".repeat(40 * 2 ** 20)}"}\n`,
    );
    say("Still here.");
  },
  async daemon() {
    spawn("setsid", ["sh", "-c", "sleep 1000 & sleep 1000"], { detached: true, stdio: "ignore" }).unref();
  },
  async many(count) {
    for (let number = 1; number <= Number(count); number++) {
      update({ sessionUpdate: "tool_call", toolCallId: `call-${number}`, title: `Call ${number}` });
      if (number % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },
  /** Ten deltas of text to each call, and a pause after 20 calls. The last 100 calls wait for the file `enough`. */
  async mixed(how) {
    const [count, pauseMs] = how.split(" ").map(Number);
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    for (let number = 1; number <= count; number++) {
      for (const digit of "0123456789") say(digit);
      update({ sessionUpdate: "tool_call", toolCallId: String(number), title: `Call ${number}` });
      if (number % 20 === 0) await pause(existsSync(`${cwd}/enough`) ? 5 : pauseMs);
      if (number === count - 100) while (!existsSync(`${cwd}/enough`)) await pause(20);
    }
  },
  /** "COUNT PAUSE_MS": tool calls, each with the time at which it was sent. */
  async stamped(asked) {
    const [count, pause] = asked.split(" ").map(Number);
    for (let index = 0; index < count; index++) {
      const title = `stamp:${performance.timeOrigin + performance.now()}`;
      update({
        sessionUpdate: "tool_call",
        toolCallId: `t${index}`,
        title,
        kind: "other",
        status: "pending",
      });
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    }
  },
  async page(text) {
    await writeFile(`${cwd}/index.html`, `<!doctype html><title>page</title><p>${text}</p>`);
  },
  async costly() {
    update({ sessionUpdate: "usage_update", used: 10, size: 100, cost: { amount: 0.3, currency: "USD" } });
    update({ sessionUpdate: "usage_update", used: 20, size: 100, cost: { amount: 0.5, currency: "USD" } });
    await new Promise(() => {});
  },
  async broken() {
    await writeFile(`${cwd}/package.json`, JSON.stringify({ scripts: { dev: "exit 3" } }));
  },
  /** name=content, several; without content it is deleted */
  async files(list) {
    for (const [name, content] of list.split(" ").map((one) => one.split("="))) {
      await mkdir(dirname(`${cwd}/${name}`), { recursive: true });
      if (content === undefined) await rm(`${cwd}/${name}`);
      else await writeFile(`${cwd}/${name}`, `${content}\n`);
    }
  },
  async stop(reason) {
    return reason;
  },
  async leak(name) {
    const secret = process.env[name];
    say(`It is ${secret.slice(0, 5)}`);
    // Longer than deltas are gathered for.
    await new Promise((resolve) => setTimeout(resolve, 300));
    say(`${secret.slice(5)}, or ${Buffer.from(`user:${secret}`).toString("base64")}.`);
    update({
      sessionUpdate: "tool_call",
      toolCallId: "leak",
      title: `curl -u ${secret}`,
      rawInput: { secret },
      content: [{ type: "content", content: { type: "text", text: `${secret}\n` } }],
    });
    process.stderr.write(`${secret}\n`);
    const outcome = await ask("session/request_permission", {
      sessionId: "s1",
      toolCall: { toolCallId: "t9", title: `Send ${secret}`, kind: "fetch" },
      options: [{ optionId: "no", name: `Never ${secret}`, kind: "reject_once" }],
    });
    say(JSON.stringify(outcome));
    throw new Error(secret);
  },
  // "The project doesn't come up …": it mends nothing.
  async The() {
    say("I can't see why.");
  },
  async blocks() {
    say(JSON.stringify(blocks.map(({ data, ...block }) => ({ ...block, bytes: data?.length }))));
  },
  async secrets() {
    say(JSON.stringify(process.env));
  },
};

const methods = {
  initialize: async () => ({
    protocolVersion: 1,
    agentCapabilities: {
      loadSession: true,
      promptCapabilities: { image: process.env.SCRIPTED_IMAGES === "yes" },
    },
  }),
  "session/new": async (params) => {
    cwd = params.cwd;
    say("Before my answer. ");
    return { sessionId: "s1" };
  },
  "session/load": async (params) => {
    cwd = params.cwd;
    say("This is a replay.");
    return {};
  },
  "session/prompt": async ({ prompt }) => {
    blocks = prompt;
    const [act, ...rest] = prompt.findLast(({ type }) => type === "text").text.split(" ");
    const reason = await acts[act](rest.join(" "));
    setTimeout(
      () => update({ sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "Late." } }),
      5,
    );
    return { stopReason: reason ?? "end_turn" };
  },
};

if (process.env.SCRIPTED_START === "silent") methods.initialize = () => new Promise(() => {});

createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.method === undefined)
    waiting.get(message.id)?.(message.result ?? { refused: message.error?.message });
  else if (message.id !== undefined)
    void methods[message.method](message.params).then((result) => answer(message.id, result));
});
