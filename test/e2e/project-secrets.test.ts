import { readdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { readEvents } from "../helpers/event-stream.ts";
import { startGitServer, type GitServer } from "../helpers/git-server.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
/** By what they are for. */
const SECRETS = {
  project: "marked-project-secret/+=1",
  git: "marked-git-secret-2",
  runnersGit: "marked-runners-git-secret-3",
  model: "marked-model-secret-4",
  runner: RUNNER_SECRET,
};
/** Tells all that it knows, in the ways that programs do. */
const TELL = `const { TOKEN } = process.env;
process.stdout.write("it is " + TOKEN.slice(0, 9));
setTimeout(() => {
  console.log(TOKEN.slice(9));
  console.error(JSON.stringify(process.env));
  console.log(Buffer.from("user:" + TOKEN).toString("base64"), Buffer.from(TOKEN).toString("hex"));
  console.log("https://example.com/?token=" + encodeURIComponent(TOKEN));
}, 100);
`;

let stack: TestStack;
let runner: RunnerProcess;
let server: GitServer;

beforeAll(async () => {
  stack = await startTestStack();
  server = await startGitServer(SECRETS.git);
  runner = await startRunner(stack, {
    id: "discreet",
    env: {
      RUNNER_AGENT: AGENT,
      RUNNER_GIT_PROTOCOLS: "http",
      RUNNER_GIT_TOKENS: `${new URL(server.origin).host}=${SECRETS.runnersGit}`,
      ANTHROPIC_API_KEY: SECRETS.model,
    },
  });
});
afterAll(async () => {
  await runner?.remove();
  await server?.stop();
  await stack?.stop();
});

/** What shows a secret, in any of its forms. */
function shown(text: string): string[] {
  return Object.entries(SECRETS).flatMap(([name, secret]) => {
    const inside = [0, 1, 2].map((before) =>
      Buffer.concat([Buffer.alloc(before), Buffer.from(secret)])
        .toString("base64")
        .slice(before === 0 ? 0 : before + 1, -4),
    );
    const forms = [secret, encodeURIComponent(secret), Buffer.from(secret).toString("hex"), ...inside];
    return forms.some((form) => text.includes(form)) ? [name] : [];
  });
}

/** Every command line of the machine, over and over. */
function watchCommandLines(): { stop(): string } {
  const seen = new Set<string>();
  const over = new AbortController();
  const watching = (async () => {
    while (!over.signal.aborted) {
      for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
        try {
          seen.add(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
        } catch {
          // it has ended
        }
      }
      await sleep(5);
    }
  })();
  return {
    stop() {
      over.abort();
      void watching;
      return [...seen].join("\n");
    },
  };
}

async function over(id: string): Promise<string> {
  await until(
    async () => {
      const { body } = await stack.api("GET", `/builds/${id}`);
      const [question] = (body["questions"] ?? []) as string[];
      if (question !== undefined)
        await stack.api("POST", `/builds/${id}/answers/${question}`, { option: null });
      return body["state"];
    },
    (state) => ["completed", "failed"].includes(String(state)),
  );
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/builds/${id}/events`, {
    headers: { authorization: `Bearer ${CONTROL_TOKEN}` },
  });
  let text = "";
  for await (const { event, data } of readEvents(response)) {
    if (event === "end") break;
    text += data;
  }
  return text;
}

test("no secret shows in events, logs, errors, files or command lines, whatever programs print", async () => {
  const remote = server.make("marked", {
    "package.json": JSON.stringify({
      scripts: { preinstall: "node tell.js", dev: "node server.js" },
      dependencies: { here: "file:./here" },
    }),
    "here/package.json": '{"name":"here","version":"1.0.0"}',
    "tell.js": TELL,
    "server.js": `${TELL}require("node:http").createServer((_, answer) => answer.end("up")).listen(process.env.PORT, "127.0.0.1");`,
    ".gitignore": "node_modules\npackage-lock.json\n",
  });
  const watch = watchCommandLines();
  const made = await stack.api("POST", "/projects", {
    slug: "marked",
    source: { git: remote },
    env: [
      { name: "TOKEN", value: SECRETS.project, secret: true },
      { name: "GIT_TOKEN", value: SECRETS.git, secret: true, for: "git" },
    ],
  });
  expect(made.status).toBe(201);
  const told = [JSON.stringify(made.body), await over((made.body["build"] as { id: string }).id)];
  for (const prompt of ["leak TOKEN", `page ${SECRETS.project} ${SECRETS.model}`]) {
    const { body } = await stack.api("POST", "/projects/marked/builds", { prompt });
    told.push(JSON.stringify(body), await over(String(body["id"])));
  }
  // Prompts that hold one are the person's own: what the agent wrote of it is the project's.
  await stack.api("DELETE", "/projects/marked/files/index.html");
  const workspace = join(runner.workspace, "marked");
  await writeFile(join(workspace, ".git/hooks/pre-commit"), "#!/bin/sh\nenv >&2\nsleep 0.3\n", {
    mode: 0o755,
  });
  await stack.api("PUT", "/projects/marked/files/new.txt", { content: "new" });
  const pushed = await stack.api("POST", "/projects/marked/git/push", { message: "Pushed" });
  expect(pushed.body).toMatchObject({ lastPush: { error: null } });
  await stack.api("PUT", "/projects/marked/git", { remote: `${server.origin}/telltale.git` });
  const refused = await stack.api("POST", "/projects/marked/git/push", {});
  expect(refused.body).toMatchObject({ code: "git_failed", detail: expect.stringContaining("***") });
  const commandLines = watch.stop();
  expect(["git\0push", "tell.js", "server.js"].map((seen) => commandLines.includes(seen))).toEqual(
    Array(3).fill(true),
  );

  const logs = await stack.api("GET", "/projects/marked/logs");
  const text = (logs.body["lines"] as { text: string }[]).map((line) => line.text).join("\n");
  expect(text).toContain("it is ***");
  for (const path of [
    "/projects/marked",
    "/projects/marked/git",
    "/projects/marked/env",
    "/runners/discreet",
  ])
    told.push(JSON.stringify((await stack.api("GET", path)).body));
  told.push(JSON.stringify((await stack.api("GET", "/audit")).body), JSON.stringify(refused.body), text);
  const files: string[] = [];
  for (const entry of readdirSync(workspace, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) files.push(await readFile(join(entry.parentPath, entry.name), "latin1"));
  }
  expect({
    told: told.flatMap(shown),
    output: shown(runner.output()),
    files: shown(files.join("\n")),
    commandLines: shown(commandLines),
  }).toEqual({ told: [], output: [], files: [], commandLines: [] });
  expect(files.length).toBeGreaterThan(20);
});
