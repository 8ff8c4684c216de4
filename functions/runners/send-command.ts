import type { Env } from "../config.ts";
import { hubOf } from "./hub-call.ts";
import type { CommandAnswer } from "./hub.ts";

/** What a draining runner isn't given: work that would outlast it. */
const NEW_WORK = new Set(["analyze-project", "start-build", "start-dev-server", "start-tunnel"]);

/** Sends a command as it will be on the wire; `waitMs` 0 doesn't wait for its result. */
export async function sendCommand(
  env: Pick<Env, "RUNNER_HUB">,
  runnerId: string,
  command: { id: string; type: string } & Record<string, unknown>,
  waitMs: number,
): Promise<CommandAnswer> {
  const { id, type } = command;
  return await hubOf(env, runnerId).command(
    { text: JSON.stringify(command), id, type, isNewWork: NEW_WORK.has(type) },
    waitMs,
  );
}
