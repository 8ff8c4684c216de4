import { Problem } from "../errors.ts";
import { isLongerThan } from "../protocol/control.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../protocol/limits.ts";
import { callHub, type HubBinding, type HubStub } from "./reach-hub.ts";
import type { CommandAnswer } from "./hub.ts";

/** Not for a draining runner: this would outlast it. */
const NEW_WORK = new Set(["analyze-project", "start-build", "start-dev-server", "start-tunnel"]);

/** `waitMs` 0 doesn't wait for the result. By the shared secret only runners that haven't enrolled are commanded. */
export async function sendCommand(
  env: HubBinding,
  runnerId: string,
  command: { id: string; type: string } & Record<string, unknown>,
  { waitMs, bySharedSecret = false }: { waitMs: number; bySharedSecret?: boolean },
): Promise<CommandAnswer> {
  const { id, type } = command;
  const text = JSON.stringify(command);
  // JSON can be longer than the body it came from, and a runner closes its connection over a message that is too large.
  if (isLongerThan(text, CONTROL_MESSAGE_LIMIT_BYTES)) {
    throw new Problem(
      "body_too_large",
      `The command would be a message of more than ${CONTROL_MESSAGE_LIMIT_BYTES} bytes.`,
    );
  }
  const sent = { text, id, type, isNewWork: NEW_WORK.has(type), bySharedSecret };
  // A runner would carry it out twice.
  const send = async (hub: HubStub): Promise<CommandAnswer> => hub.command(sent, waitMs);
  return callHub(env, runnerId, send, { isRepeatable: false });
}
