import { printableLine } from "../../../functions/protocol/printable.ts";
import type { DeploymentView } from "../../client/control-types.ts";
import { command, confirmed, ofApp } from "../command.ts";
import { Failure } from "../failure.ts";
import { Display } from "../progress/display.ts";
import { followDeployment } from "../progress/follow.ts";
import type { CommandContext } from "../context.ts";

/** `NAME-YYMMDD-HHMMSS` */
const GENERATED_ID = /-\d{6}-\d{6}$/;

const waiting = {
  wait: { type: "boolean", summary: "wait until it is gone; pages get time to reload" },
} as const;

export const deleteDeployment = command({
  name: "delete",
  summary: "has the pages of a deployment reload, and deletes it",
  arguments: [
    {
      name: "ID",
      summary: "the deployment; or --deployment-name",
      optional: true,
      formerly: "deployment-id",
    },
  ],
  flags: {
    ...ofApp,
    "deployment-name": {
      type: "string",
      value: "NAME",
      summary: "the one deployment whose generated id begins with this name",
    },
    ...waiting,
    ...confirmed,
  },
  async run(context, { flags, arguments: [id] }) {
    const name = flags["deployment-name"];
    if ((id === undefined) === (name === undefined))
      throw new Failure("usage", "wrong_usage", "delete needs ID or --deployment-name NAME, one of them.");
    const app = await context.app();
    await retire(context, app, id ?? (await onlyNamed(context, app, name ?? "")), flags.wait);
  },
});

export const removeDeployment = command({
  name: "remove",
  nowSpelled: "delete --deployment-name NAME",
  summary: "deletes the one deployment with a name",
  arguments: [
    { name: "NAME", summary: "what the deployment's generated id begins with", formerly: "deployment-name" },
  ],
  flags: { ...ofApp, ...waiting, ...confirmed },
  async run(context, { flags, arguments: [name = ""] }) {
    const app = await context.app();
    await retire(context, app, await onlyNamed(context, app, name), flags.wait);
  },
});

async function onlyNamed(context: CommandContext, app: string, name: string): Promise<string> {
  const { deployments } = await (await context.control()).app(app);
  const found = deployments.filter((deployment) => isNamed(deployment, name));
  const [only, other] = found;
  if (only === undefined) {
    throw new Failure(
      "notFound",
      "unknown_deployment",
      `App ${app} has no deployment named ${name}: none has an id like ${name}-YYMMDD-HHMMSS.`,
    );
  }
  if (other !== undefined) {
    const retry = found.map(({ id }) => `  signalbox delete ${printableLine(id)} --app ${app}`).join("\n");
    throw new Failure(
      "ambiguous",
      "ambiguous_name",
      `${found.length} deployments of ${app} are named ${name}. Say which:\n${retry}`,
    );
  }
  return only.id;
}

/** Whether its id was generated from this name, and nothing takes it away yet. Long names are cut in ids. */
export function isNamed({ id, name, state, retirement }: DeploymentView, wanted: string): boolean {
  if (state === "removed" || state === "failed" || retirement !== null) return false;
  return name === wanted && GENERATED_ID.test(id) && wanted.startsWith(id.replace(GENERATED_ID, ""));
}

async function retire(context: CommandContext, app: string, id: string, wait: boolean): Promise<void> {
  const control = await context.control();
  const before = await control.deployment(app, id);
  if (before === null)
    throw new Failure("notFound", "unknown_deployment", `App ${app} has no deployment ${id}.`);
  await context.confirm(`Delete ${id} of ${app}, which is ${printableLine(before.state)}?`);
  const leaving = await control.deleteDeployment(app, id);
  if (!wait) {
    context.output.result(
      leaving,
      () => `${app} ${id} leaves: its pages are told to reload, then it is taken away.`,
    );
    return;
  }
  const display = new Display(context.output);
  context.atEnd(() => display.stop());
  context.interruption = `Interrupted. ${id} leaves all the same.`;
  let fresh = false;
  for await (const event of followDeployment(control, app, id, { signal: context.signal })) {
    // The stream begins with the rollout; what follows the request is what is waited for.
    fresh ||= event.type === "step" && ["reload", "unroute", "remove", "clean-up"].includes(event.step);
    if (fresh && event.type === "step")
      display.step(event.step, event.status, event.detail, Date.parse(event.at));
  }
  display.stop();
  const after = await control.deployment(app, id);
  context.output.event(
    { type: "result", ...(after ?? leaving) },
    () => `${app} ${id} is ${printableLine(after?.state ?? "gone")}.`,
  );
}
