import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Operator } from "../helpers/cli.ts";
import { CONTROL_TOKEN, startTestStack, type TestStack } from "../helpers/stack.ts";

/** Each mistake has its own message and exit code, for people and for programs. */

let stack: TestStack;
let operator: Operator;
let directory: string;

beforeAll(async () => {
  stack = await startTestStack();
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  directory = await mkdtemp(join(tmpdir(), "signalbox-mistakes-"));
});

afterAll(async () => {
  await operator?.remove();
  await stack?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

interface Mistake {
  args: string[];
  env?: Record<string, string>;
  /** The contents of signalbox.json. */
  config?: string;
  code: number;
  error: string;
  says: RegExp;
}

const mistakes: Record<string, Mistake> = {
  "a wrong token": {
    args: ["status"],
    env: { SIGNALBOX_TOKEN: "not-the-token" },
    code: 4,
    error: "unauthorized",
    says: /The control token is wrong.*signalbox login/,
  },
  "no token": {
    args: ["status", "--server", "http://127.0.0.1:9"],
    code: 4,
    error: "no_token",
    says: /There is no control token for http:\/\/127\.0\.0\.1:9/,
  },
  "a server that isn't there": {
    args: ["status", "--server", "http://127.0.0.1:9", "--control-token", "anything"],
    code: 5,
    error: "server_unreachable",
    says: /http:\/\/127\.0\.0\.1:9 \(from --server\) can't be reached/,
  },
  "an address that isn't one": {
    args: ["status", "--server", "example"],
    code: 2,
    error: "bad_server",
    says: /--server: "example" isn't an address/,
  },
  "a command that there isn't": {
    args: ["undeploy"],
    code: 2,
    error: "unknown_command",
    says: /There is no command "undeploy"/,
  },
  "half of a command": {
    args: ["canary"],
    code: 2,
    error: "unknown_command",
    says: /Say which: canary set, canary off/,
  },
  "a flag that there isn't": {
    args: ["status", "--al"],
    code: 2,
    error: "wrong_usage",
    says: /--al isn't a flag; did you mean --all\?/,
  },
  "a flag without its value": {
    args: ["deploy", "--target", "--detach"],
    code: 2,
    error: "wrong_usage",
    says: /--target needs a value/,
  },
  "a value that isn't one of those that there are": {
    args: ["deploy", "--target", "moon"],
    code: 2,
    error: "wrong_usage",
    says: /--target must be runner or railway or url, not "moon"/,
  },
  "a missing argument": { args: ["promote"], code: 2, error: "wrong_usage", says: /promote needs ID/ },
  "an argument too many": {
    args: ["status", "now"],
    code: 2,
    error: "wrong_usage",
    says: /doesn't take the argument "now"/,
  },
  "a configuration that isn't JSON": {
    args: ["status"],
    config: "{ app: ",
    code: 3,
    error: "bad_config",
    says: /signalbox\.json can't be read as JSON/,
  },
  "a field that there isn't": {
    args: ["deploy"],
    config: '{"appp":"x","railway":{"projekt":"y"}}',
    code: 3,
    error: "bad_config",
    says: /signalbox\.json: railway\.projekt is not a known field; appp is not a known field/,
  },
  "a name and an id of the same thing": {
    args: ["deploy"],
    config: '{"railway":{"project":"x","projectId":"y"}}',
    code: 3,
    error: "bad_config",
    says: /railway\.project can't stand beside projectId/,
  },
  "a token in the configuration": {
    args: ["status"],
    config: '{"token":"secret-value"}',
    code: 3,
    error: "bad_config",
    says: /token is not a known field/,
  },
  "a configuration that isn't there": {
    args: ["status", "--config", "elsewhere.json"],
    code: 3,
    error: "no_config",
    says: /There is no file .*elsewhere\.json/,
  },
  "nothing that says how to start": {
    args: ["deploy", "--app", "x"],
    config: "{}",
    code: 3,
    error: "no_start",
    says: /Nothing says how to start the server/,
  },
  "a directory that isn't there": {
    args: ["deploy", "nowhere", "--start", "true", "--dry-run"],
    code: 2,
    error: "no_directory",
    says: /There is no directory .*nowhere/,
  },
  "an app that there isn't": {
    args: ["status", "--app", "nobody"],
    code: 6,
    error: "unknown_app",
    says: /There is no app nobody\.$/,
  },
  "no app at all": { args: ["rollback"], code: 6, error: "no_apps", says: /There is no app yet/ },
  "no runner to deploy on": {
    args: ["deploy", "--start", "true", "--app", "x"],
    code: 1,
    error: "no_runner",
    says: /No runner is connected that takes new work\. Start one: signalbox runner\./,
  },
};

test.each(Object.entries(mistakes))("%s", async (name, { args, env, config, code, error, says }) => {
  const cwd = join(directory, name.replaceAll(/\W/g, "-"));
  await mkdir(cwd);
  if (config !== undefined) await writeFile(join(cwd, "signalbox.json"), config);
  const said = await operator.run(args, { cwd, input: "", ...(env ? { env } : {}) });
  expect(said.stderr).toMatch(/^signalbox: /m);
  expect(said.stderr.trim()).toMatch(says);
  expect(said.code).toBe(code);
  const machine = await operator.run([...args, "--json"], { cwd, input: "", ...(env ? { env } : {}) });
  expect(JSON.parse(machine.stderr)).toMatchObject({ error: { code: error, exitCode: code } });
  expect(machine.code).toBe(code);
  expect(machine.stdout).toBe("");
  expect((await stack.api("GET", "/apps")).body).toEqual({ apps: [] });
  for (const text of [said.stderr, machine.stderr]) {
    expect(text).not.toMatch(/secret-value|not-the-token|^ {4}at /m);
  }
});

test("a server that isn't Signalbox is called that", async () => {
  const other = createServer((_, response) => response.end("<h1>Hello</h1>")).listen(0, "127.0.0.1");
  await once(other, "listening");
  const server = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  const { code, stderr } = await operator.run(["status", "--server", server, "--control-token", "anything"]);
  expect(code).toBe(5);
  expect(stderr).toContain("not as Signalbox does");
  other.close();
});

test("several apps and none named: the names are listed, with 7", async () => {
  for (const app of ["one", "two"]) await stack.api("PUT", `/apps/${app}`, {});
  const { code, stderr } = await operator.run(["rollback"]);
  expect(code).toBe(7);
  expect(stderr).toContain("There are several apps: one, two. Say which with --app.");
});

test("no settings at all: it says every way to give some", async () => {
  const stranger = await Operator.create(null);
  const { code, stderr } = await stranger.run(["status"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(
    /--server, SIGNALBOX_URL, `server` in signalbox\.json or signalbox login.*npm start/,
  );
  await stranger.remove();
});

test("a saved server that is away: it says who named it, and where a local stack runs", async () => {
  const login = join(directory, "config/signalbox/login.json");
  await mkdir(join(directory, "config/signalbox"), { recursive: true });
  const away = "http://127.0.0.1:9";
  await writeFile(login, JSON.stringify({ current: away, servers: { [away]: { token: "saved" } } }), {
    mode: 0o600,
  });
  const env = { XDG_CONFIG_HOME: join(directory, "config") };
  const { code, stderr } = await operator.run(["status"], { env });
  expect(code).toBe(5);
  expect(stderr).toContain(`${away} (from signalbox login) can't be reached`);
  expect(stderr).toContain(`A local stack runs here: --server ${stack.origin} speaks to it.`);

  const alone = await Operator.create({ url: "http://127.0.0.1:10", controlToken: "left behind" });
  const { stderr: stopped } = await alone.run(["status"], { env });
  expect(stopped).toContain("can't be reached");
  expect(stopped).not.toContain("local stack");
  await alone.remove();
});

test("a saved token is sent to its own server only", async () => {
  const seen: (string | undefined)[] = [];
  const other = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end("{}");
  }).listen(0, "127.0.0.1");
  await once(other, "listening");
  const server = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  expect((await operator.run(["status", "--server", server])).code).toBe(4);
  expect(seen).toEqual([]);
  other.close();
});

test("without a terminal nothing is coloured, and NO_COLOR holds in one", async () => {
  const escape = "\u001b[";
  const { stderr } = await operator.run(["status", "--app", "nobody"]);
  expect(stderr).not.toContain(escape);
  const coloured = operator.inTerminal(["status", "--app", "nobody"]);
  await coloured.ended;
  expect(coloured.raw()).toContain(escape);
  const plain = operator.inTerminal(["status", "--app", "nobody"], { env: { NO_COLOR: "1" } });
  await plain.ended;
  expect(plain.raw()).not.toContain(escape);
});

test("a reader that has seen enough ends the command quietly", async () => {
  const line = `'${process.execPath}' '${operator.entry}' --help | head -n 1`;
  const { code, stdout, stderr } = await operator.shell(line);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.trim().split("\n")).toHaveLength(1);
});
