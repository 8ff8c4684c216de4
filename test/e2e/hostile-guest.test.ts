import { access, readFile, writeFile } from "node:fs/promises";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { archiveOf } from "../helpers/archive.ts";
import { onUpstash, type UpstashStack } from "../helpers/both-stores.ts";
import { putApp } from "../helpers/deploy.ts";
import { toldBeside, visits } from "../helpers/neighbour.ts";
import { deploy, uploadSource } from "../helpers/runner-deployments.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, RUNNER_SECRET, until, type TestStack } from "../helpers/stack.ts";

/**
 * Everything that a guest can do to others, all at once, beside a neighbour whose visitors come 50 times a second. What is
 * refused of each is looked at closely in `confinement.test.ts` and `guest-limits.test.ts`.
 */
const soak = process.env["SIGNALBOX_SOAK"] === "1";
const SECONDS = soak ? 30 : 4;
const isRoot = process.getuid?.() === 0;
const NEIGHBOUR_SECRET = "the-neighbours-own-secret";
const MARK = String(process.pid);

const limits = {
  RUNNER_GUEST_MEMORY: "200000000",
  RUNNER_GUEST_PROCESSES: "150",
  RUNNER_GUEST_DISK: "60000000",
  RUNNER_GUEST_INODES: "3000",
  RUNNER_GUEST_LOG: "1000000",
};
/** Why each of them is stopped, as its log says; null: nothing stops it, and it does no harm. */
const attacks: Record<string, RegExp | null> = {
  spy: null,
  daemons: null,
  descriptors: null,
  log: null,
  processor: null,
  disk: /RUNNER_GUEST_DISK is/,
  inodes: /RUNNER_GUEST_INODES is 3000/,
  memory: /RUNNER_GUEST_MEMORY is/,
  processes: /RUNNER_GUEST_PROCESSES is 150/,
};

const levels = soak ? ["sandbox", ...(isRoot ? ["user"] : []), "none"] : ["auto"];

describe.each(levels)("beside hostile guests at confinement %s", (level) => {
  let world: UpstashStack;
  let runner: RunnerProcess;
  let given: string;
  /** Where nothing is refused, nobody tries: it would be done. */
  let own: string[];

  beforeAll(async () => {
    world = await onUpstash();
    const { stack } = world;
    runner = await startRunner(stack, { id: "r1", env: { ...limits, RUNNER_CONFINEMENT: level } });
    const { body } = await stack.api("GET", "/runners/r1");
    given = JSON.stringify(body).match(/"level":"(\w+)"/)?.[1] ?? "none";
    await putApp(stack, "calm", { hosts: ["calm.test"] });
    await putApp(stack, "hostile", { hosts: ["hostile.test"] });
    const calm = await uploadSource(stack, "r1", await archiveOf({ "server.mjs": CALM }));
    await deploy(stack, "calm", "v1", {
      sha256: calm,
      runnerId: "r1",
      start: "node server.mjs",
      env: { TOKEN: NEIGHBOUR_SECRET },
    });
    await stack.control.until("calm", "v1", ["active"], 60_000);
    const source = await readFile(join(projectRoot, "test/helpers/hostile-guest.mjs"), "utf8");
    const sha256 = await uploadSource(stack, "r1", await archiveOf({ "hostile-guest.mjs": source }));
    own = Object.keys(attacks).filter((attack) => attack !== "spy" || given !== "none");
    for (const attack of own)
      await stage(stack, attack, {
        source: { sha256 },
        env: {
          ATTACK: attack,
          MARK,
          WORKSPACE: runner.workspace,
          SECRETS: [RUNNER_SECRET, CONTROL_TOKEN, NEIGHBOUR_SECRET].join(","),
          PORTS: String(stack.port),
        },
      });
    for (const attack of own) await stack.control.until("hostile", attack, ["ready"], 60_000);
  }, 180_000);

  afterAll(async () => {
    await runner.remove();
    await world.stop();
  });

  async function logOf(attack: string): Promise<string> {
    const { body } = await world.stack.api("GET", `/apps/hostile/deployments/${attack}/logs?limit=1000`);
    return (body["lines"] as { text: string }[]).map(({ text }) => text).join("\n");
  }

  test(
    "a neighbour loses no request, and each of them is refused or stopped",
    { timeout: SECONDS * 1_000 + 300_000 },
    async () => {
      const { stack } = world;
      await visits(stack.origin, "calm.test", 1);
      const quiet = await visits(stack.origin, "calm.test", Math.min(SECONDS, 10));
      expect(quiet.lost).toEqual([]);
      for (const attack of own) await writeFile(join(runner.workDirectory("hostile", attack), "begin"), "");
      const seen = await visits(stack.origin, "calm.test", SECONDS);
      console.log(`${given} (asked for: ${level}), all of it: ${toldBeside(seen, quiet)}`);
      expect(seen.lost).toEqual([]);
      for (const [attack, reason] of Object.entries(attacks)) {
        if (reason === null) continue;
        await until(
          () => logOf(attack),
          (text) => reason.test(text),
        );
      }
      if (given !== "none") {
        const spied = await logOf("spy");
        expect(spied).not.toContain("GOT");
        expect(spied).toContain("REFUSED");
      }
      for (const at of [runner.workspace, dirname(runner.workspace), "/usr/bin", "/etc"])
        await expect(access(join(at, `written-by-${MARK}`)).then(() => given)).rejects.toMatchObject({
          code: "ENOENT",
        });
      for (const attack of own) await stack.api("DELETE", `/apps/hostile/deployments/${attack}`);
      await until(
        () => processesOf(MARK),
        (left) => left === 0,
      );
    },
  );
});

/** Not promoted, so that none makes another one drain. */
async function stage(stack: TestStack, id: string, target: Record<string, unknown>): Promise<void> {
  const { status, body } = await stack.api("POST", "/apps/hostile/deployments", {
    id,
    promote: false,
    target: { kind: "runner", runnerId: "r1", start: "node hostile-guest.mjs", ...target },
  });
  if (status !== 202) throw new Error(`Deploying ${id}: ${JSON.stringify(body)}`);
}

/** What daemons of the hostile guests are left. */
function processesOf(mark: string): number {
  return readdirSync("/proc").filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, "latin1").includes(`300.${mark}`);
    } catch {
      return false; // it has ended meanwhile
    }
  }).length;
}

const CALM = `import { createHash } from "node:crypto";
import { createServer } from "node:http";
createServer((request, response) => {
  const hash = createHash("sha256");
  request.on("data", (chunk) => hash.update(chunk)).on("end", () => response.end(hash.digest("hex")));
}).listen(process.env.PORT, process.env.HOST);
`;
