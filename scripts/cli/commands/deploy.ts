import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { printableLine } from "../../../functions/protocol/printable.ts";
import type { DeploymentView } from "../../client/control-types.ts";
import { age, bytes } from "../ages.ts";
import { command, ofApp } from "../command.ts";
import { planDeployment, type Plan } from "../deploy/plan.ts";
import { planOrAsk } from "../deploy/plan-or-ask.ts";
import { showDecisions } from "../deploy/show-decisions.ts";
import { followRollout } from "../deploy/rollout.ts";
import { packSource } from "../deploy/source.ts";
import { submit, uploadToRailway } from "../deploy/submit.ts";
import { Failure } from "../failure.ts";
import { Display } from "../progress/display.ts";
import { readSourceTree } from "../packing/source-tree.ts";
import { railwayPlace } from "../railway/settings.ts";
import { requireBaseline } from "../railway/update-baseline.ts";
import type { CommandContext } from "../context.ts";
import { oneLine } from "../output.ts";

export const deploy = command({
  name: "deploy",
  summary: "packs a directory and rolls it out as a new version",
  arguments: [
    { name: "DIRECTORY", summary: "what to deploy; where signalbox.json is, or here", optional: true },
  ],
  flags: {
    ...ofApp,
    name: {
      type: "string",
      value: "NAME",
      summary: "what the new id begins with (prod)",
      formerly: "deployment-name",
    },
    id: { type: "string", value: "ID", summary: "the new id itself; with --resume, the one to follow" },
    "no-promote": { type: "boolean", summary: "leave it ready: signalbox promote makes it active" },
    detach: { type: "boolean", summary: "don't wait for the rollout" },
    resume: {
      type: "boolean",
      summary: "follow a rollout under way; with DIRECTORY, send the source that it waits for",
    },
    "dry-run": { type: "boolean", summary: "say what would be packed; runs nothing and changes nothing" },
    "allow-prepare": {
      type: "boolean",
      summary: "run the `prepare` of signalbox.json without having agreed to it before",
    },
    target: { type: "string", choices: ["runner", "railway", "url"], summary: "where it runs (runner)" },
    runner: { type: "string", value: "ID", summary: "the runner; without it, the least loaded" },
    label: {
      type: "string",
      multiple: true,
      value: "NAME=VALUE",
      summary: "a label that the runner must have",
    },
    ...railwayPlace,
    image: { type: "string", value: "IMAGE", summary: "on Railway: an image instead of a source" },
    url: { type: "string", value: "URL", summary: "a backend that runs already" },
    install: {
      type: "string",
      value: "COMMAND",
      summary: "installs dependencies; else the lockfile decides",
    },
    build: {
      type: "string",
      value: "COMMAND",
      summary: "runs after the installation; else the build script",
    },
    start: { type: "string", value: "COMMAND", summary: "starts the server, which listens on PORT" },
    static: { type: "string", value: "DIR", summary: "no server: the runner serves the files in DIR" },
    "health-path": { type: "string", value: "PATH", summary: "path of the health check" },
    env: { type: "string", multiple: true, value: "NAME=VALUE", summary: "a variable of the deployment" },
    contract: {
      type: "string",
      choices: ["auto", "edge", "none", "pulse"],
      summary: "what is asked of the app (auto: finds out)",
    },
    host: { type: "string", multiple: true, value: "HOST", summary: "a host name of the app" },
  },
  notes: `Files that .gitignore or .signalboxignore name aren't packed, .git, node_modules and .signalbox never.
Ctrl-C ends only this command: the rollout goes on.`,
  async run(context, { flags, arguments: [given] }) {
    const startedAt = Date.now();
    const named = given === undefined ? null : resolve(context.cwd, given);
    const loaded = context.config(named ?? context.cwd);
    context.namedApp();
    const display = new Display(context.output);
    context.atEnd(() => display.stop());
    if (flags.resume) {
      const app =
        flags.app ?? (named === null ? await context.app() : planDeployment(flags, loaded, named).app);
      const deployment = await underWay(context, app, flags.id ?? null);
      if (named !== null) await sendAgain(context, display, deployment, planDeployment(flags, loaded, named));
      const { id, promote } = deployment;
      return followRollout(context, display, { app, id, promote, startedAt });
    }
    const plan = await planOrAsk(context, flags, loaded, named);
    // A dry run has them in its result.
    if (!flags["dry-run"] || !context.output.json) showDecisions(context.output, plan.decisions);
    if (flags["dry-run"]) return dryRun(context, plan);
    context.interruption = "Interrupted. Nothing was deployed.";
    // Strict, as pulse-railway's: what is missing isn't made here.
    if (plan.target.kind === "railway") await requireBaseline(context, flags);
    const deployment = await submit(context, display, plan);
    if (flags.detach) {
      display.stop();
      context.output.event({ type: "result", ...deployment }, () => detached(deployment));
      return;
    }
    await followRollout(context, display, {
      app: plan.app,
      id: deployment.id,
      promote: plan.promote,
      startedAt,
    });
  },
});

function detached(deployment: DeploymentView): string {
  const [app, id] = [printableLine(deployment.app), printableLine(deployment.id)];
  return `The rollout of ${app} ${id} has begun: signalbox deploy --resume --app ${app} --id ${id} follows it.`;
}

/** The deployment that was named, else the one whose rollout is under way, else the newest. */
async function underWay(context: CommandContext, app: string, id: string | null): Promise<DeploymentView> {
  const { deployments } = await (await context.control()).app(app);
  const deployment =
    id === null ? (deployments.find(isUnderWay) ?? deployments[0]) : deployments.find((one) => one.id === id);
  if (!deployment) {
    const what = id === null ? "no deployment" : `no deployment ${id}`;
    throw new Failure("notFound", "unknown_deployment", `App ${app} has ${what}.`);
  }
  if (!isUnderWay(deployment)) {
    context.output.remark(
      `No rollout of ${app} is under way; ${deployment.id} has been ${deployment.state} for ${age(deployment.stateSince, Date.now())}.`,
    );
  }
  return deployment;
}

function isUnderWay({ state, redeploying }: DeploymentView): boolean {
  return state === "pending" || redeploying;
}

/** An upload to Railway that was cut off; what did arrive isn't sent twice. */
async function sendAgain(
  context: CommandContext,
  display: Display,
  deployment: DeploymentView,
  { target }: Plan,
): Promise<void> {
  if (deployment.state !== "pending" || target.kind !== "railway" || !("source" in target.from)) return;
  const archive = await packSource(context, display, target.from.source);
  try {
    await uploadToRailway(context, display, deployment, archive);
  } finally {
    archive.remove();
  }
}

async function dryRun(context: CommandContext, plan: Plan): Promise<void> {
  const { target } = plan;
  const source =
    target.kind === "runner"
      ? target.source
      : target.kind === "railway" && "source" in target.from
        ? target.from.source
        : null;
  const prepare = source?.prepare ?? null;
  // What an earlier build left, if there was one.
  const made = prepare === null || (source !== null && existsSync(source.directory));
  const tree =
    source !== null && made
      ? await readSourceTree(source.directory, { alone: prepare !== null, secret: context.secretDirectories })
      : null;
  const files = tree?.entries.map(({ path }) => path) ?? [];
  const { app, id, name, promote } = plan;
  context.output.event(
    {
      type: "result",
      app,
      id: id ?? null,
      name,
      promote,
      target: target.kind,
      decisions: plan.decisions,
      prepare: prepare?.command ?? null,
      files,
      bytes: tree?.bytes ?? 0,
    },
    () => {
      const what =
        tree === null
          ? prepare === null
            ? "no source"
            : "what that makes"
          : `${files.length} files, ${bytes(tree.bytes)}, of ${tree.directory}`;
      const first =
        prepare === null ? [] : [`First \`${prepare.command}\` would run, which a dry run doesn't do.`];
      return [...files.map(oneLine), ...first, `${app} would be deployed (${target.kind}): ${what}`].join(
        "\n",
      );
    },
  );
}
