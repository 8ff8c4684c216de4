import type { ControlClient } from "../../client/control-client.ts";
import type { DeploymentView } from "../../client/control-types.ts";
import { duration } from "../ages.ts";
import { Failure } from "../failure.ts";
import type { Display } from "../progress/display.ts";
import { followDeployment } from "../progress/follow.ts";
import { publicUrl } from "../public-url.ts";
import type { CommandContext } from "../context.ts";

export interface Rollout {
  app: string;
  id: string;
  /** Whether it is to become the active one. */
  promote: boolean;
  /** Begins after this event; null: with the first. */
  after?: string | null;
  /** When the command began. */
  startedAt: number;
}

/** Follows a rollout to its end and reports it; throws {@link Failure} `deployment_failed` with the reason. */
export async function followRollout(
  context: CommandContext,
  display: Display,
  rollout: Rollout,
): Promise<void> {
  const { app, id } = rollout;
  const control = await context.control();
  context.interruption = `Interrupted. The rollout of ${id} goes on; signalbox deploy --resume --app ${app} --id ${id} follows it, signalbox status shows it.`;
  const following = {
    signal: context.signal,
    after: rollout.after ?? null,
    lost: (why: string) => context.output.remark(`  ${why} Trying again; the rollout goes on meanwhile.`),
  };
  for await (const event of followDeployment(control, app, id, following)) {
    const at = Date.parse(event.at);
    if (event.type === "step") display.step(event.step, event.status, event.detail, at);
    else if (event.type === "log") display.log(event.line, at);
    else display.state(event.state, event.reason, at);
  }
  display.stop();
  const deployment = await control.deployment(app, id);
  if (deployment === null)
    throw new Failure("notFound", "unknown_deployment", `App ${app} has no deployment ${id}.`);
  await report(context, control, display, deployment, rollout);
}

async function report(
  context: CommandContext,
  control: ControlClient,
  display: Display,
  deployment: DeploymentView,
  { app, id, promote, startedAt }: Rollout,
): Promise<void> {
  const { output } = context;
  const { state, failure } = deployment;
  const url = publicUrl(await control.app(app), control.origin);
  const elapsedMs = Date.now() - startedAt;
  const succeeded = failure === null && (state === "ready" ? !promote : state !== "pending");
  const result = { type: "result", app, id, state, url, failure, elapsedMs, steps: display.times };
  output.event(result, () => {
    if (!succeeded) return null;
    const { style } = output;
    const place = state === "active" && url !== null ? `  ${style.underline(url)}` : "";
    return `${style.green("●")} ${style.bold(`${app} ${id}`)} is ${state}${place}  ${style.dim(duration(elapsedMs))}`;
  });
  if (succeeded) return;
  if (failure === null) {
    throw new Failure(
      "failed",
      "not_promoted",
      `Deployment ${id} is ${state}, but wasn't promoted: signalbox promote ${id} --app ${app}.`,
    );
  }
  const [reason = "", ...lines] = failure.reason.split("\n");
  const last = lines.length > 0 ? lines : display.lastLines;
  if (last.length > 0)
    output.say(`\nThe last lines of its log:\n${last.map((line) => output.quoted(line)).join("\n")}\n`);
  throw new Failure(
    "failed",
    "deployment_failed",
    `Deployment ${id} of ${app} failed (${failure.code}): ${reason}`,
  );
}
