import { createServer, type Server } from "node:http";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Operator } from "../helpers/cli.ts";

/** A repository that somebody else wrote: what its files say must not cost the operator a token, nor run anything. */

const TOKEN = "the-operators-token";

let operator: Operator;
let repository: string;
let server: Server;
let url: string;
let seen: (string | undefined)[];

beforeEach(async () => {
  operator = await Operator.create(null);
  repository = await mkdtemp(join(tmpdir(), "signalbox-cloned-"));
  await mkdir(join(repository, ".git"));
  seen = [];
  server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.setHeader("content-type", "application/json").end('{"apps":[]}');
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await operator.remove();
  await rm(repository, { recursive: true, force: true });
});

/** Without the home of a local stack that `Operator` names. */
function inRepository(more: Record<string, string> = {}) {
  return { cwd: repository, env: { SIGNALBOX_HOME: "", ...more }, input: "" };
}

async function configure(config: object): Promise<void> {
  await writeFile(join(repository, "signalbox.json"), JSON.stringify(config));
}

describe("the server of a cloned signalbox.json", () => {
  test.each([["status"], ["login"], ["runners"]])("gets no SIGNALBOX_TOKEN by %s", async (command) => {
    await configure({ server: url });
    const { code, stderr } = await operator.run(
      [command, "--json"],
      inRepository({ SIGNALBOX_TOKEN: TOKEN }),
    );
    expect(code).toBe(4);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: "server_not_approved" } });
    expect(stderr).toContain(`SIGNALBOX_URL=${url}`);
    expect(seen).toEqual([]);
  });

  test("gets it once SIGNALBOX_URL names the same", async () => {
    await configure({ server: url });
    await operator.run(["status"], inRepository({ SIGNALBOX_TOKEN: TOKEN, SIGNALBOX_URL: url }));
    expect(seen).toEqual([`Bearer ${TOKEN}`]);
  });

  test("is asked about once in a terminal, and again after it changed", async () => {
    await configure({ server: url });
    const options = { ...inRepository({ SIGNALBOX_TOKEN: TOKEN }), input: undefined } as const;
    const asking = operator.inTerminal(["status"], { cwd: options.cwd, env: options.env });
    await expect.poll(() => asking.output()).toContain("Send your token there?");
    expect(seen).toEqual([]);
    asking.child.stdin?.write("y");
    await asking.ended;
    expect(seen).toEqual([`Bearer ${TOKEN}`]);
    await operator.run(["status"], inRepository({ SIGNALBOX_TOKEN: TOKEN }));
    expect(seen).toHaveLength(2);
    const approvals = join(operator.directory, ".config/signalbox/approvals.json");
    expect((await stat(approvals)).mode & 0o777).toBe(0o600);
    expect(await readFile(approvals, "utf8")).not.toContain(TOKEN);
    await configure({ server: url.replace("127.0.0.1", "localhost") });
    expect((await operator.run(["status"], inRepository({ SIGNALBOX_TOKEN: TOKEN }))).code).toBe(4);
    expect(seen).toHaveLength(2);
  });
});

test("a planted .signalbox/local.json gets no token but its own", async () => {
  await mkdir(join(repository, ".signalbox"));
  const local = { url, controlToken: "planted" };
  await writeFile(join(repository, ".signalbox/local.json"), JSON.stringify(local));
  await operator.run(["status"], inRepository({ SIGNALBOX_TOKEN: TOKEN }));
  expect(seen).toEqual(["Bearer planted"]);
});

describe("the prepare command of a cloned signalbox.json", () => {
  const deploy = (...more: string[]) => ["deploy", "--server", url, ...more];

  beforeEach(async () => {
    await configure({
      app: "shop",
      start: "node .",
      prepare: { command: "mkdir -p out && env > out/env.txt", output: "out" },
    });
    server.removeAllListeners("request");
    // Enough of a server for a deployment to get as far as packing.
    server.on("request", (request, response) => {
      response.setHeader("content-type", "application/json");
      if (request.url?.endsWith("/placements") === true) {
        response.end('{"runnerId":"r","hasSource":false}');
        return;
      }
      response.statusCode = 500;
      response.end(JSON.stringify({ code: "stop_here", detail: "no further" }));
    });
  });

  const made = (): boolean => existsSync(join(repository, "out/env.txt"));
  const tokens = { SIGNALBOX_TOKEN: TOKEN, RAILWAY_TOKEN: "railway-token" };

  test("sees no token, in a script and with --allow-prepare", async () => {
    for (const more of [["--json"], ["--allow-prepare"]]) {
      await rm(join(repository, "out"), { recursive: true, force: true });
      await operator.run(deploy(...more), inRepository(tokens));
      expect(await readFile(join(repository, "out/env.txt"), "utf8")).not.toMatch(
        /railway-token|operators-token/,
      );
    }
  });

  test("is asked about once in a terminal", async () => {
    const { cwd, env } = inRepository(tokens);
    const asking = operator.inTerminal(deploy(), { cwd, env });
    await expect.poll(() => asking.output()).toContain("Run it?");
    expect(made()).toBe(false);
    asking.child.stdin?.write("y");
    await asking.ended;
    expect(made()).toBe(true);
    await rm(join(repository, "out"), { recursive: true });
    await operator.run(deploy(), inRepository(tokens));
    expect(made()).toBe(true);
  });

  test("doesn't run in a dry run, which says so", async () => {
    for (const more of [[], ["--allow-prepare"]]) {
      const { code, stdout } = await operator.run(deploy("--dry-run", ...more), inRepository(tokens));
      expect(code).toBe(0);
      expect(stdout).toContain("would run, which a dry run doesn't do");
      expect(made()).toBe(false);
    }
  });
});
