import { ControlProblem, type ControlClient } from "../../client/control-client.ts";
import type { AppView, DeploymentView, RunnerView } from "../../client/control-types.ts";
import { printableLine } from "../../../functions/protocol/printable.ts";
import { confinement } from "./runners.ts";
import { age, span } from "../ages.ts";
import { command, ofApp } from "../command.ts";
import type { CommandContext } from "../context.ts";
import { Failure } from "../failure.ts";
import type { Output } from "../output.ts";
import { watch, type Look } from "../progress/watch.ts";

export const status = command({
  name: "status",
  summary: "what is active, canary, previous, draining or under way",
  flags: {
    ...ofApp,
    all: { type: "boolean", summary: "failed and removed deployments too" },
    watch: {
      type: "boolean",
      short: "w",
      summary: "goes on: redrawn in a terminal, else a line for each change",
    },
  },
  async run(context, { flags }) {
    const { output } = context;
    if (flags.watch) {
      const control = await context.control();
      return watch(
        context,
        () => look(context, flags.all),
        (signal) => control.changes(signal),
      );
    }
    const { value, text } = await look(context, flags.all);
    output.result(value, () => text);
  },
});

async function look(context: CommandContext, isAll: boolean): Promise<Look> {
  const control = await context.control();
  const named = context.namedApp();
  const apps = named === null ? await control.apps() : [await control.app(named)];
  if (apps.length === 0) {
    throw new Failure("notFound", "no_apps", "There is no app yet. Deploy one: signalbox deploy DIRECTORY.");
  }
  const drains = await drainsOf(control, apps);
  const kept = await confinementsOf(control, apps);
  const shown = apps.map((app) => ({
    ...app,
    deployments: app.deployments
      .filter((deployment) => isAll || isAlive(deployment) || isLatestFailure(app, deployment))
      .map((deployment) => ({
        ...deployment,
        drain: drains.get(`${app.name}/${deployment.id}`) ?? null,
        confinement: confinementOf(deployment, kept),
      })),
  }));
  const [only] = shown;
  return {
    value: named !== null || shown.length === 1 ? only : { apps: shown },
    text: shown.map((app) => describe(app, context.output)).join("\n\n"),
    facts: new Map(shown.flatMap(factsOf)),
  };
}

/** What of an app changes by somebody's doing, one line for each deployment and one for the app. */
function factsOf(app: ShownApp): [name: string, fact: string][] {
  const paused = app.paused === null ? "serves" : `paused (${app.paused.mode})`;
  const active = app.active === null ? "nothing active" : `active ${app.active}`;
  return [
    [app.name, `${active}, ${paused}${app.deleting ? ", being deleted" : ""}`],
    ...app.deployments.map((deployment): [string, string] => {
      const { id, failure, retirement, drain } = deployment;
      const more = failure?.reason.split("\n")[0] ?? retirement?.reason ?? drain?.detail ?? "";
      return [
        `${app.name}/${id}`,
        [...roleWords(app, deployment), more].filter((word) => word !== "").join(", "),
      ];
    }),
  ];
}

/** What the janitor last saw of a deployment that drains. */
interface Drain {
  seenAt: string;
  reason: string;
  detail: string;
}
type ShownDeployment = DeploymentView & {
  drain: Drain | null;
  /** What its runner keeps it in. */
  confinement: RunnerView["confinement"];
};
type ShownApp = Omit<AppView, "deployments"> & { deployments: ShownDeployment[] };

async function confinementsOf(
  control: ControlClient,
  apps: AppView[],
): Promise<Map<string, RunnerView["confinement"]>> {
  const isHosted = apps.some(({ deployments }) => deployments.some(({ target }) => target.kind === "runner"));
  const runners = isHosted ? await ifAllowed(control.runners(), []) : [];
  return new Map(runners.map((runner) => [runner.id, runner.confinement]));
}

function confinementOf(
  { target }: DeploymentView,
  kept: Map<string, RunnerView["confinement"]>,
): RunnerView["confinement"] {
  return target.kind === "runner" ? (kept.get(target.runnerId ?? "") ?? null) : null;
}

async function drainsOf(control: ControlClient, apps: AppView[]): Promise<Map<string, Drain>> {
  const drains = new Map<string, Drain>();
  if (!apps.some(({ deployments }) => deployments.some(({ state }) => state === "draining"))) return drains;
  const { report } = await ifAllowed(control.lastJanitor(), { report: null, stale: false });
  for (const { app, deployment, reason, detail } of report?.decisions ?? []) {
    drains.set(`${app}/${deployment}`, { seenAt: report?.finishedAt ?? "", reason, detail });
  }
  return drains;
}

/** A token for one app doesn't reach what all apps share: that is left out. */
function ifAllowed<T>(asked: Promise<T>, otherwise: NoInfer<T>): Promise<T> {
  return asked.catch((error: unknown) => {
    if (error instanceof ControlProblem && error.code === "insufficient_scope") return otherwise;
    throw error;
  });
}

function isAlive({ state }: DeploymentView): boolean {
  return state !== "failed" && state !== "removed";
}

/** What just went wrong is what one looks for. */
function isLatestFailure(app: AppView, deployment: DeploymentView): boolean {
  return deployment.state === "failed" && app.deployments[0]?.id === deployment.id;
}

function describe(app: ShownApp, output: Output): string {
  const { style } = output;
  const now = Date.now();
  const facts = [
    app.default ? "default" : "",
    printableLine(app.hosts.join(" ")),
    app.deleting ? style.red("being deleted") : "",
    app.paused ? style.yellow(`paused (${app.paused.mode}) for ${age(app.paused.since, now)}`) : "",
    app.minimum === null ? "" : `minimum ${printableLine(app.minimum)}`,
  ].filter((fact) => fact !== "");
  const head = `${style.bold(app.name)}${facts.length === 0 ? "" : `  ${facts.join(" · ")}`}`;
  if (app.deployments.length === 0) return `${head}\n  no deployment yet`;
  const rows = app.deployments.map((deployment) => [
    deployment.id,
    role(app, deployment, output),
    age(deployment.stateSince, now),
    where(deployment),
    remark(deployment, now),
  ]);
  return `${head}\n${output.table(["DEPLOYMENT", "STATE", "FOR", "WHERE", ""], rows)}`;
}

function roleWords(app: ShownApp, { id, state, redeploying }: DeploymentView): string[] {
  const words: string[] = [state];
  if (app.canary?.id === id) words.push(`canary ${app.canary.weight} %`);
  if (app.previous?.id === id) words.push("previous");
  if (redeploying) words.push("redeploying");
  return words;
}

function role(app: ShownApp, deployment: DeploymentView, { style }: Output): string {
  const { state } = deployment;
  const text = roleWords(app, deployment).join(", ");
  const { green, red, cyan, yellow } = style;
  const paints: Partial<Record<string, (text: string) => string>> = {
    active: green,
    failed: red,
    pending: cyan,
    draining: yellow,
  };
  // A newer server may know more states.
  return paints[state]?.(text) ?? text;
}

function where({ target, url, confinement: kept }: ShownDeployment): string {
  if (target.kind === "runner")
    return [`runner ${target.runnerId ?? "?"}`, confinement(kept)].filter((part) => part !== "").join(", ");
  return url ?? target.kind;
}

function remark(deployment: ShownDeployment, now: number): string {
  const { failure, retirement, drain, drainDeadline } = deployment;
  if (failure) return failure.reason.split("\n")[0]?.slice(0, 100) ?? "";
  if (retirement) return `leaves: ${retirement.reason}`;
  if (drainDeadline === null) return "";
  const left = `${span(Date.parse(drainDeadline) - now)} left at most`;
  if (drain === null || drain.reason === "kept_for_rollback") return left;
  return `${left}; ${age(drain.seenAt, now)} ago: ${drain.detail}`;
}
