import { z } from "zod";
import { PLACEMENT_CANDIDATES_LIMIT } from "../../../functions/protocol/limits.ts";
import type { ControlClient } from "../../client/control-client.ts";
import type { RunnerDetails } from "../../client/control-types.ts";
import { Failure } from "../failure.ts";

const LOOKS_AT_ONCE = 8;

/** What a runner says of itself in its heartbeats. */
const heartbeat = z.object({
  payload: z.object({
    deployments: z.number().default(0),
    busy: z.number().default(0),
    labels: z.record(z.string(), z.string()).default({}),
  }),
});

/** The least loaded runner that takes new work and has all the labels. */
export async function chooseRunner(control: ControlClient, labels: Record<string, string>): Promise<string> {
  const runners = await control.runners();
  const online = runners.filter(({ state, protocol }) => state === "online" && protocol !== "sentryvibe");
  if (online.length === 0) {
    const known = runners.map(({ id, state }) => `${id} is ${state}`).join(", ");
    throw new Failure(
      "failed",
      "no_runner",
      `No runner is online to deploy on (${known || "none has ever connected"}). Start one: signalbox-runner runner.`,
    );
  }
  const details: RunnerDetails[] = [];
  const waiting = online.slice(0, PLACEMENT_CANDIDATES_LIMIT);
  const look = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift())
      details.push(await control.runner(next.id));
  };
  await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, look));
  const wanted = Object.entries(labels);
  const [best] = details
    .map((runner) => ({ id: runner.id, ...loadOf(runner) }))
    .filter(({ labels: own }) => wanted.every(([name, value]) => own[name] === value))
    .toSorted((one, other) => one.load - other.load || one.id.localeCompare(other.id));
  if (best) return best.id;
  const asked = wanted.map(([name, value]) => `${name}=${value}`).join(", ");
  throw new Failure("failed", "no_runner", `No runner that is online has the labels ${asked}.`);
}

function loadOf({ status, openStreams }: RunnerDetails): { load: number; labels: Record<string, string> } {
  const said = heartbeat.safeParse(status).data?.payload;
  // A deployment weighs more than a request: it stays.
  return {
    load: ((said?.deployments ?? 0) + (said?.busy ?? 0)) * 100 + openStreams,
    labels: said?.labels ?? {},
  };
}
