import { execFile } from "node:child_process";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { projectRoot } from "../../scripts/build/worker.ts";
import { Operator } from "../helpers/cli.ts";
import { npxDirectory } from "../helpers/npx.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, type TestStack } from "../helpers/stack.ts";
import { WorkflowIssuer } from "../helpers/workflow-issuer.ts";

/** `examples/github-actions.yml`: its commands, as GitHub's bash would run them, with an issuer of ours. */

const run = promisify(execFile);
const COMMIT = "3a4a4d9f0c1b2a3d4e5f60718293a4b5c6d7e8f9";

const step = z.union([
  z.strictObject({ uses: z.string().regex(/@v\d+$/), with: z.record(z.string(), z.unknown()).optional() }),
  z.strictObject({ name: z.string(), run: z.string() }),
]);
const workflowSchema = z.strictObject({
  name: z.string(),
  on: z.strictObject({ push: z.strictObject({ branches: z.array(z.string()) }) }),
  concurrency: z.string(),
  permissions: z.record(z.string(), z.enum(["read", "write"])),
  env: z.record(z.string(), z.string()),
  jobs: z.record(
    z.string(),
    z.strictObject({
      "runs-on": z.string(),
      "timeout-minutes": z.number(),
      steps: z.array(step),
    }),
  ),
});
type Workflow = z.infer<typeof workflowSchema>;

let text: string;
let workflow: Workflow;
let issuer: WorkflowIssuer;
let stack: TestStack;
let runner: RunnerProcess;
let operator: Operator;
let checkout: string;

beforeAll(async () => {
  text = await readFile(join(projectRoot, "examples/github-actions.yml"), "utf8");
  workflow = workflowSchema.parse(parse(text));
  issuer = await WorkflowIssuer.start();
  // What the file's head tells people to trust, but for the issuer.
  const shown = /^#\s+(\[\{.*\}\])$/m.exec(text)?.[1] ?? "[]";
  const trust = z.array(z.record(z.string(), z.unknown())).parse(JSON.parse(shown));
  const OIDC_TRUST = JSON.stringify(trust.map((one) => ({ ...one, issuer: issuer.origin })));
  stack = await startTestStack({ settings: { OIDC_TRUST } });
  runner = await startRunner(stack);
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  checkout = join(operator.directory, "shop");
  await cp(join(projectRoot, "examples/plain-http"), checkout, { recursive: true });
  // The page's first step.
  const created = await operator.run(["deploy", "--app", "shop", "--host", "shop.test"], { cwd: checkout });
  if (created.code !== 0) throw new Error(created.stderr);
});
afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await stack?.stop();
  issuer?.stop();
});

/** Every command of a job in order; returns what they wrote. */
async function runJob(name: string, env: Record<string, string>): Promise<string> {
  let output = "";
  for (const one of workflow.jobs[name]?.steps ?? []) {
    if (!("run" in one)) continue;
    const { stdout } = await run("bash", ["-e", "-o", "pipefail", "-c", one.run], {
      cwd: checkout,
      env: {
        PATH: `${await npxDirectory(operator.directory)}:${process.env["PATH"]}`,
        HOME: operator.directory,
        GITHUB_SHA: COMMIT,
        CI: "true",
        ...workflow.env,
        SIGNALBOX_URL: stack.origin,
        ...env,
      },
    });
    output += stdout;
  }
  return output;
}

test("the workflow may sign in, and holds no secret", () => {
  expect(workflow.permissions).toEqual({ contents: "read", "id-token": "write" });
  expect(workflow.on.push.branches).toEqual(["main"]);
  expect(text).not.toMatch(/secrets\.|TOKEN/);
});

test("its commands roll out the commit, and the audit log names the workflow", async () => {
  issuer.handedOut = await issuer.sign();
  const output = await runJob("deploy", issuer.environment);
  const id = `sha-${COMMIT.slice(0, 12)}`;
  expect(output).toContain(id);
  expect((await stack.api("GET", "/apps/shop")).body).toMatchObject({ active: id });
  const { status } = await stack.request("shop.test", "/version");
  expect(status).toBe(200);
  const { entries } = (await stack.api("GET", "/audit?app=shop")).body as { entries: { actor: string }[] };
  expect(entries[0]?.actor).toBe("workflow you/shop refs/heads/main");
});

test.each([
  ["of another branch", { ref: "refs/heads/feature" }, /of nobody in OIDC_TRUST/],
  ["of another repository", { repository: "you/other" }, /of nobody in OIDC_TRUST/],
])("a workflow %s deploys nothing", async (_, claims, words) => {
  issuer.handedOut = await issuer.sign(claims);
  await expect(runJob("deploy", issuer.environment)).rejects.toThrow(words);
});

test("a job without id-token: write is told that it has no token", async () => {
  await expect(runJob("deploy", {})).rejects.toThrow(/token/);
});

test("docs/github-actions.md trusts whom the file's head trusts, and quotes it", async () => {
  const page = await readFile(join(projectRoot, "docs/github-actions.md"), "utf8");
  const [, json = ""] = /^```json\n([\s\S]*?)^```$/m.exec(page) ?? [];
  const [, shown = ""] = /^#\s+(\[\{.*\}\])$/m.exec(text) ?? [];
  expect(JSON.parse(json)).toEqual(JSON.parse(shown));
  const [, quoted = "-"] = /^```yaml\n([\s\S]*?)^```$/m.exec(page) ?? [];
  expect(text).toContain(quoted);
});
