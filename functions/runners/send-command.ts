import { Problem } from "../errors.ts";
import { isLongerThan } from "../protocol/control.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../protocol/limits.ts";
import { hubOf, type HubBinding } from "./reach-hub.ts";
import type { CommandAnswer } from "./hub.ts";

/** Not for a draining runner: this would outlast it. */
const NEW_WORK = new Set(["analyze-project", "start-build", "start-dev-server", "start-tunnel"]);

/** `waitMs` 0 doesn't wait for the result. */
export async function sendCommand(
  env: HubBinding,
  runnerId: string,
  command: { id: string; type: string } & Record<string, unknown>,
  waitMs: number,
): Promise<CommandAnswer> {
  const { id, type } = command;
  const text = JSON.stringify(command);
  // The body was small enough, but JSON has longer spellings, and a runner closes the connection over a too large message.
  if (isLongerThan(text, CONTROL_MESSAGE_LIMIT_BYTES)) {
    throw new Problem(
      "body_too_large",
      `The command would be a message of more than ${CONTROL_MESSAGE_LIMIT_BYTES} bytes.`,
    );
  }
  return await hubOf(env, runnerId).command({ text, id, type, isNewWork: NEW_WORK.has(type) }, waitMs);
}
