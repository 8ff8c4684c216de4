import { z } from "zod";
import { Problem } from "../errors.ts";
import type { NewProject } from "../protocol/runner-api.ts";
import type { HubBinding } from "../runners/reach-hub.ts";
import type { StateStore } from "../state/store.ts";
import type { ProjectView } from "../protocol/builds.ts";
import { RunnerProjects } from "./runner-projects.ts";

const KIND = "project-leftovers";
const leftovers = z.array(z.string());
/** A runner that loses so many answers has other troubles. */
const LEFTOVERS_KEPT = 20;

interface Place {
  env: HubBinding;
  store: StateStore;
  runnerId: string;
  slug: string;
}

/** The same for a request and its repeat. */
export async function creationOf(idempotency: { key: string; fingerprint: string } | null): Promise<string> {
  if (idempotency === null) return crypto.randomUUID();
  const text = new TextEncoder().encode(`${idempotency.key}\n${idempotency.fingerprint}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Makes a project on a runner, once what failed creations of this slug left there is gone. Throws `project_exists`. */
export async function putProject(place: Place, creation: string, project: NewProject): Promise<ProjectView> {
  await removeLeftovers(place, creation);
  return new RunnerProjects(place.env, place.runnerId).put(place.slug, creation, project);
}

/** Takes back a creation that failed. What its runner doesn't answer for goes with the next creation of this slug there. */
export async function takeBack(place: Place, creation: string, failure: unknown): Promise<void> {
  const remove = () => new RunnerProjects(place.env, place.runnerId).remove(place.slug, creation);
  // Without an answer, the call that makes it may still be on its way.
  const isOver = failure instanceof Problem && failure.status < 500;
  const isGone = await remove().then(
    () => true,
    () => false,
  );
  if (isOver && isGone) return;
  const all = new Set([...(await readLeftovers(place)), creation]);
  await place.store.writeRecord(KIND, idOf(place), JSON.stringify([...all].slice(-LEFTOVERS_KEPT)));
}

/** Throws while the runner is away. */
export async function removeLeftovers(place: Place, but?: string): Promise<void> {
  const { env, store, runnerId, slug } = place;
  const left = await readLeftovers(place);
  if (left.length === 0) return;
  for (const creation of left)
    if (creation !== but) await new RunnerProjects(env, runnerId).remove(slug, creation);
  await store.deleteRecord(KIND, idOf(place));
}

async function readLeftovers(place: Place): Promise<string[]> {
  const body = await place.store.readRecord(KIND, idOf(place));
  return body === null ? [] : (leftovers.safeParse(JSON.parse(body)).data ?? []);
}

function idOf({ slug, runnerId }: Place): string {
  return `${slug}@${runnerId}`;
}
