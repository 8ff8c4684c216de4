import { z } from "zod";
import { Problem } from "../errors.ts";
import { printableLine } from "../protocol/printable.ts";
import { sendCommand } from "../runners/send-command.ts";
import { runnerOffline } from "../runners/stream-problems.ts";
import { actThenRecord } from "./act-then-record.ts";
import type { ControlContext } from "./context.ts";
import type { Idempotency } from "./idempotency.ts";

/** Characters of an id in the audit log. */
const NAME_LIMIT = 200;

export interface RunnerCommand {
  runnerId: string;
  /** As it goes on the wire. */
  sent: Parameters<typeof sendCommand>[2];
  /** For the audit log, which has nothing else of the command but id and type. */
  projectId: string | null;
  /** Seconds; 0 doesn't wait for its result. */
  wait: number;
  actor?: string;
}

export type Ran = { commandId: string } & (
  { outcome: "sent" | "timeout" | "lost" } | { outcome: "result"; event: Record<string, unknown> }
);

/** Sends a command to a runner and audits it. Throws if it couldn't be sent. */
export function commandRunner(
  context: ControlContext,
  idempotency: Idempotency,
  { runnerId, sent, projectId, wait, ...who }: RunnerCommand,
): Promise<Ran> {
  const { id: commandId, type } = sent;
  return actThenRecord<Ran, z.infer<typeof remembered>>(context, idempotency, {
    ...who,
    subject: { kind: "runner", id: runnerId },
    action: "runner.command",
    act: () => run(context, runnerId, sent, wait),
    details: ({ outcome }) => ({
      command: printableLine(commandId, NAME_LIMIT),
      type: printableLine(type, NAME_LIMIT),
      project: projectId && printableLine(projectId, NAME_LIMIT),
      outcome,
    }),
    // Without the event, which may hold a whole file.
    remember: { schema: remembered, of: () => ({ commandId }) },
    repeated: (earlier) => ({ ...earlier, outcome: "sent" }),
  });
}

const remembered = z.object({ commandId: z.string() });
const eventFields = z.record(z.string(), z.unknown());

async function run(
  { env }: ControlContext,
  runnerId: string,
  sent: RunnerCommand["sent"],
  wait: number,
): Promise<Ran> {
  const answer = await sendCommand(env, runnerId, sent, wait * 1_000);
  switch (answer.kind) {
    case "offline":
      throw runnerOffline(runnerId);
    case "draining":
      throw new Problem("runner_draining", `Runner ${runnerId} is draining and takes no new work.`);
    case "result":
      return { commandId: sent.id, outcome: "result", event: eventFields.parse(JSON.parse(answer.event)) };
    case "sent":
    case "timeout":
    case "lost":
      return { commandId: sent.id, outcome: answer.kind };
  }
}
