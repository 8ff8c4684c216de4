import { z } from "zod";
import { Problem } from "../errors.ts";
import { PLACEMENT_CANDIDATES_LIMIT } from "../protocol/limits.ts";
import { callHub, type HubBinding } from "./reach-hub.ts";
import { hasLabels, isPlaceable, placeableRunners, readRunner } from "./registry.ts";
import type { StateStore } from "../state/store.ts";
import { findSource } from "./sources.ts";

/** Hubs asked at the same time. */
const HUBS_AT_ONCE = 20;

export interface PlacementWish {
  /** This one and no other. */
  runnerId?: string | undefined;
  /** Labels that the runner must have, if none is named. */
  labels?: Record<string, string> | undefined;
  source?: { sha256: string } | undefined;
}

export interface Placement {
  runnerId: string;
  hasSource: boolean;
}

/**
 * Picks the runner for a new deployment: the named one, or the least loaded with the labels; with `needsSource` only one
 * that has the source. Throws `target_refused` if none fits. `at` prefixes the fields that the refusal names.
 */
export async function placeOnRunner(
  parts: { env: HubBinding; store: StateStore },
  wish: PlacementWish,
  { needsSource, at }: { needsSource: boolean; at: "" | "target." },
): Promise<Placement> {
  let unreachable: Problem | null = null;
  for await (const runnerId of candidates(parts, wish, at)) {
    try {
      const hasSource =
        wish.source !== undefined && (await findSource(parts.env, runnerId, wish.source.sha256)) !== null;
      if (hasSource || !needsSource) return { runnerId, hasSource };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      unreachable = error;
    }
  }
  // An unreachable runner may have the source: the caller can retry this, but a refusal would be final.
  if (unreachable !== null && (wish.runnerId !== undefined || !needsSource)) throw unreachable;
  const where =
    wish.runnerId === undefined
      ? `any runner that fits (the ${PLACEMENT_CANDIDATES_LIMIT} least loaded are asked)`
      : `runner ${wish.runnerId}`;
  throw refused(
    `${at}source.sha256`,
    `The source isn't on ${where}; upload it with PUT /runners/ID/sources first and name that runner`,
  );
}

/** The part of a runner's status that only its hub has. */
const heartbeat = z.object({ payload: z.object({ busy: z.number().default(0) }) });

/**
 * Ids of runners that take new work and have all the labels, the least loaded first: in batches by the registry's numbers,
 * and within a batch by their hubs'.
 */
async function* candidates(
  { env, store }: { env: HubBinding; store: StateStore },
  { runnerId: wanted, labels = {} }: PlacementWish,
  at: string,
): AsyncGenerator<string> {
  if (wanted !== undefined) {
    const record = await readRunner(store, wanted);
    const refuse = (message: string): Problem => refused(`${at}runnerId`, message);
    if (!record) throw refuse(`There is no runner ${wanted}: it never connected, or was deleted`);
    if (record.state !== "online") throw refuse(`Runner ${wanted} is ${record.state}: ${record.reason}`);
    if (!isPlaceable(record)) {
      throw refuse(`Runner ${wanted} is a SentryVibe runner, which can't host deployments`);
    }
    yield wanted;
    return;
  }
  const known = await placeableRunners(store, labels, PLACEMENT_CANDIDATES_LIMIT);
  let some = false;
  for (let from = 0; from < known.length; from += HUBS_AT_ONCE) {
    const batch = known.slice(from, from + HUBS_AT_ONCE);
    const looks = await Promise.all(batch.map(({ id }) => look(env, id, labels)));
    for (const { id } of looks.filter((look) => look !== null).sort((one, other) => one.load - other.load)) {
      some = true;
      yield id;
    }
  }
  if (some) return;
  const wantedLabels = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  const isAny = wantedLabels.length === 0;
  const message = "fits no runner that is connected and takes new work";
  throw new Problem(
    "target_refused",
    isAny
      ? "No runner is connected that takes new work. Start one: signalbox runner."
      : `No runner that is connected and takes new work has the labels ${wantedLabels.join(", ")}.`,
    { errors: [{ field: isAny ? `${at}runnerId` : `${at}labels`, message }] },
  );
}

/** Null if the registry's record is out of date, or the hub fails: another runner will do. */
async function look(
  env: HubBinding,
  id: string,
  labels: Record<string, string>,
): Promise<{ id: string; load: number } | null> {
  try {
    const { record, status, openStreams } = await callHub(env, id, (hub) => hub.view());
    if (record === null || !isPlaceable(record) || !hasLabels(record, labels)) return null;
    const said = heartbeat.safeParse(status === null ? null : JSON.parse(status)).data?.payload;
    // A deployment weighs more than a request: it stays.
    return { id, load: (record.deployments + (said?.busy ?? 0)) * 100 + openStreams };
  } catch (error) {
    console.error(`placement: the hub of runner ${id} failed:`, error);
    return null;
  }
}

function refused(field: string, message: string): Problem {
  return new Problem("target_refused", `${message}.`, { errors: [{ field, message }] });
}
