import { command, ofApp } from "../command.ts";
import { followRollout } from "../deploy/rollout.ts";
import { Failure } from "../failure.ts";
import { Display } from "../progress/display.ts";
import { readEvents } from "../progress/event-stream.ts";
import type { CommandContext } from "../context.ts";

export const redeploy = command({
  name: "redeploy",
  summary: "builds a deployment again, in place",
  arguments: [
    {
      name: "ID",
      summary: "the deployment; without it, the active one",
      optional: true,
      formerly: "deployment-id",
    },
  ],
  flags: {
    ...ofApp,
    detach: { type: "boolean", summary: "don't wait for it" },
  },
  async run(context, { flags, arguments: [given] }) {
    const startedAt = Date.now();
    const app = await context.app();
    const control = await context.control();
    const id = given ?? (await control.app(app)).active;
    if (id === null) {
      throw new Failure(
        "notFound",
        "no_active_deployment",
        `App ${app} has no active deployment. Name one: signalbox redeploy ID.`,
      );
    }
    // What was reported of the first build isn't this one's.
    const after = flags.detach ? null : await lastEvent(context, app, id);
    const deployment = await control.redeploy(app, id);
    if (flags.detach) {
      context.output.event(
        { type: "result", ...deployment },
        () =>
          `${app} ${id} is being built again: signalbox deploy --resume --app ${app} --id ${id} follows it.`,
      );
      return;
    }
    const display = new Display(context.output);
    context.atEnd(() => display.stop());
    await followRollout(context, display, { app, id, promote: false, after, startedAt });
  },
});

/** The id of the latest event that there is. */
async function lastEvent(context: CommandContext, app: string, id: string): Promise<string | null> {
  const stream = await (await context.control()).events(app, id, null, context.signal);
  let last: string | null = null;
  if (stream === null) return last;
  for await (const event of readEvents(stream)) {
    if (event.event === "end") break;
    last = event.id ?? last;
  }
  return last;
}
