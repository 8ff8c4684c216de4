import { ControlProblem, type ControlClient, type Upload } from "../../client/control-client.ts";
import type {
  DeploymentBody,
  DeploymentView,
  PlacementBody,
  PlacementView,
} from "../../client/control-types.ts";
import { bytes } from "../ages.ts";
import { Failure, failureOf } from "../failure.ts";
import type { Archive } from "../packing/archive.ts";
import type { Display } from "../progress/display.ts";
import type { CommandContext } from "../context.ts";
import { ensureApp } from "./ensure-app.ts";
import type { Plan, TargetPlan } from "./plan.ts";
import { packSource } from "./source.ts";
import { upload } from "./upload.ts";

/** Brings the source where it is needed and has the rollout begun. */
export async function submit(context: CommandContext, display: Display, plan: Plan): Promise<DeploymentView> {
  const { target } = plan;
  switch (target.kind) {
    case "url":
      await settleApp(context, display, plan);
      return create(context, plan, { kind: "url", url: target.url, ...target.settings });
    case "runner":
      return submitToRunner(context, display, plan, target);
    case "railway":
      return submitToRailway(context, display, plan, target);
  }
}

async function submitToRunner(
  context: CommandContext,
  display: Display,
  plan: Plan,
  target: Extract<TargetPlan, { kind: "runner" }>,
): Promise<DeploymentView> {
  const control = await context.control();
  const wish = target.runnerId === undefined ? { labels: target.labels } : { runnerId: target.runnerId };
  // Before the work: without a runner it would be in vain.
  await place(control, wish);
  const archive = await packSource(context, display, target.source);
  const source = { sha256: archive.sha256 };
  try {
    const { runnerId, hasSource } = await place(control, { ...wish, source });
    await settleApp(context, display, plan);
    display.step("upload", "started", `to runner ${runnerId}`);
    if (hasSource) {
      display.step("upload", "done", `runner ${runnerId} has it already`);
    } else {
      const sent = (count: number): void => display.transfer(count, archive.bytes);
      await upload(
        async (bytes) => (await control.uploadToRunner(runnerId, bytes, context.signal)).sha256,
        archive,
        sent,
        context.signal,
      );
      display.step("upload", "done", `${bytes(archive.bytes)} to runner ${runnerId}`);
    }
    const { start, settings } = target;
    return await create(context, plan, { kind: "runner", runnerId, source, start, ...settings });
  } finally {
    archive.remove();
  }
}

async function place(control: ControlClient, wish: PlacementBody): Promise<PlacementView> {
  try {
    return await control.place(wish);
  } catch (error) {
    if (!(error instanceof ControlProblem) || error.code !== "target_refused") throw error;
    throw new Failure("failed", wish.runnerId === undefined ? "no_runner" : error.code, error.message);
  }
}

async function submitToRailway(
  context: CommandContext,
  display: Display,
  plan: Plan,
  { from, dockerfile, settings }: Extract<TargetPlan, { kind: "railway" }>,
): Promise<DeploymentView> {
  const shape = { kind: "railway", ...(dockerfile === undefined ? {} : { dockerfile }), ...settings };
  if (!("source" in from)) {
    await settleApp(context, display, plan);
    return create(context, plan, { ...shape, ...from });
  }
  const archive = await packSource(context, display, from.source);
  try {
    await settleApp(context, display, plan);
    const deployment = await create(context, plan, { ...shape, upload: true });
    await uploadToRailway(context, display, deployment, archive);
    return deployment;
  } finally {
    archive.remove();
  }
}

/** The upload that a deployment waits for; one that has arrived before isn't taken again. */
export async function uploadToRailway(
  context: CommandContext,
  display: Display,
  { app, id }: DeploymentView,
  archive: Archive,
): Promise<void> {
  const control = await context.control();
  const remedy = `${id} waits for its source: signalbox deploy DIRECTORY --resume --app ${app} --id ${id} sends it again.`;
  context.interruption = `Interrupted. ${remedy}`;
  display.step("upload", "started", "to Railway");
  try {
    const sent = (count: number): void => display.transfer(count, archive.bytes);
    const send = async (bytes: Upload): Promise<null> => {
      await control.uploadToRailway(app, id, bytes, context.signal);
      return null;
    };
    await upload(send, archive, sent, context.signal);
    display.step("upload", "done", `${bytes(archive.bytes)} to Railway`);
  } catch (error) {
    if (context.signal.aborted) throw error;
    display.step("upload", "failed");
    // Why nobody waits for it is told with the rest of the rollout's progress.
    if ((await control.deployment(app, id).catch(() => null))?.state === "failed") return;
    const failure = failureOf(error);
    if (failure === null) throw error;
    throw new Failure(failure.reason, failure.code, `${failure.message} ${remedy}`);
  }
}

/** Not before everything that can fail here has been done: what isn't deployed changes nothing. */
async function settleApp(context: CommandContext, display: Display, plan: Plan): Promise<void> {
  const control = await context.control();
  const change = await ensureApp(control, plan);
  if (change === null) return;
  const pipe = change === "created" && plan.newApp.contract === "none";
  display.step(
    "app",
    "done",
    `${plan.app} ${change}${pipe ? ", contract none: it doesn't use the sdk" : ""}`,
  );
}

async function create(context: CommandContext, plan: Plan, target: object): Promise<DeploymentView> {
  const { app, id, name, promote } = plan;
  const body = { ...(id === undefined ? {} : { id }), name, promote, target };
  const control = await context.control();
  const before = context.interruption;
  context.interruption = `Interrupted. Whether the rollout has begun is shown by: signalbox status --app ${app}.`;
  try {
    // Targets are checked where they are known: by the control plane that is to carry them out.
    return await control.createDeployment(app, body as DeploymentBody);
  } catch (error) {
    context.interruption = before;
    throw error;
  }
}
