import { readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { BuildsOf, saidBy } from "../helpers/builds.ts";
import { processesWith } from "../helpers/program.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack?.stop());

describe.each(["none", "sandbox"])("confinement %s", (confinement) => {
  let runner: RunnerProcess;
  let builds: BuildsOf;
  beforeAll(async () => {
    runner = await startRunner(stack, {
      id: `asked-${confinement}`,
      env: { RUNNER_AGENT: AGENT, RUNNER_CONFINEMENT: confinement },
    });
    builds = new BuildsOf(stack, confinement);
  });
  afterAll(() => runner?.remove());

  test("an agent runs a command in a terminal of ours, whose output is an event", async () => {
    const slug = await builds.newProject({ runnerId: runner.id });
    const command = 'echo "$GIVEN in $(basename "$PWD")"; exit 3';
    const events = await builds.run(slug, `terminal ${command}`);
    expect(JSON.parse(saidBy(events).replace("Before my answer. ", ""))).toEqual({
      exit: { exitCode: 3, signal: null },
      output: `it's given in ${slug}\n`,
      exitStatus: { exitCode: 3, signal: null },
    });
    expect(events).toContainEqual(expect.objectContaining({ type: "terminal", command, status: "running" }));
    expect(events).toContainEqual(
      expect.objectContaining({
        type: "terminal",
        status: "exited",
        exitCode: 3,
        output: `it's given in ${slug}\n`,
      }),
    );
  });

  test("a terminal that is killed is over, with all that runs in it", async () => {
    const slug = await builds.newProject({ runnerId: runner.id });
    const events = await builds.run(slug, "killed");
    expect(saidBy(events)).toMatch(/"signal":"SIGTERM"/);
    expect(processesWith(join(runner.workspace, slug))).toEqual([]);
    expect(events.at(-1)).toMatchObject({ state: "completed" });
  });

  test("what an agent asked for and left ends with its build", async () => {
    const slug = await builds.newProject({ runnerId: runner.id });
    const events = await builds.run(slug, "abandons");
    expect(events.at(-1)).toMatchObject({ state: "completed" });
    expect(processesWith(join(runner.workspace, slug))).toEqual([]);
  });

  test("an agent reads and writes files of its project through us", async () => {
    const slug = await builds.newProject({ runnerId: runner.id });
    const events = await builds.run(slug, "fs CWD/src/made.txt");
    expect(saidBy(events)).toContain('{"wrote":{},"read":{"content":"two"}}');
    expect(await readFile(join(runner.workspace, slug, "src/made.txt"), "utf8")).toBe("one\ntwo\nthree\n");
    expect(events).toContainEqual(expect.objectContaining({ type: "tool", title: "Write src/made.txt" }));
  });

  test("and none that is outside", async () => {
    const slug = await builds.newProject({ runnerId: runner.id });
    for (const path of ["CWD/../other.txt", "/etc/passwd"])
      expect(saidBy(await builds.run(slug, `fs ${path}`))).toContain("leads out of the project");
  });
});

test("in a sandbox no link leads an agent's file call out of the project", async () => {
  const runner = await startRunner(stack, {
    id: "linked",
    env: { RUNNER_AGENT: AGENT, RUNNER_CONFINEMENT: "sandbox" },
  });
  try {
    const builds = new BuildsOf(stack, "linked");
    const slug = await builds.newProject({ runnerId: runner.id });
    await writeFile(join(runner.workspace, "secret.txt"), "secret\n");
    await symlink(join(runner.workspace, "secret.txt"), join(runner.workspace, slug, "link"));
    expect(saidBy(await builds.run(slug, "fs CWD/link"))).toContain("can't be written");
    expect(await readFile(join(runner.workspace, "secret.txt"), "utf8")).toBe("secret\n");
  } finally {
    await runner.remove();
  }
});

test("an agent's form is a question for each field, and the answers go back", async () => {
  const runner = await startRunner(stack, { id: "formal", env: { RUNNER_AGENT: AGENT } });
  try {
    const builds = new BuildsOf(stack, "formal");
    const id = await builds.begin(await builds.newProject({ runnerId: runner.id }), "form");
    const answers = ["b", "Rye & Co"];
    const events = await builds.events(id, 0, async (event) => {
      if (event.type !== "question") return;
      const path = `/builds/${id}/answers/${event.request}`;
      await until(
        () => stack.api("POST", path, { option: answers[event.options.length > 0 ? 0 : 1] }),
        ({ status }) => status === 200,
      );
    });
    expect(events).toContainEqual(
      expect.objectContaining({
        type: "question",
        title: "Please say Colour",
        options: [
          { id: "r", name: "Red", kind: "choice" },
          { id: "b", name: "Blue", kind: "choice" },
        ],
      }),
    );
    expect(saidBy(events)).toContain('{"action":"accept","content":{"colour":"b","name":"Rye & Co"}}');
  } finally {
    await runner.remove();
  }
});
