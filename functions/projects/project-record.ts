import { z } from "zod";
import type { Page, StateStore } from "../state/store.ts";

const KIND = "project";
const FORMER_SLUG = "project-former-slug";

const projectRecord = z.object({
  schema: z.literal(1),
  slug: z.string(),
  name: z.string(),
  /** Where it lives. */
  runnerId: z.string(),
  /** Epoch milliseconds. */
  createdAt: z.number(),
  /** Anybody sees its preview. */
  isPublic: z.boolean(),
  /** Links and cookies of an earlier one open nothing. */
  previewEpoch: z.int(),
  /** A runner that may have a copy that isn't the project: a move was interrupted. */
  stray: z.string().nullable().default(null),
  /** The request that made it. */
  creation: z.string().nullable().default(null),
  /** Rises with every write. */
  version: z.int(),
});

/** What the control plane knows of a project; all else is on its runner. */
export type ProjectRecord = z.infer<typeof projectRecord>;

export async function readProject(store: StateStore, slug: string): Promise<ProjectRecord | null> {
  const body = await store.readRecord(KIND, slug);
  return body === null ? null : (projectRecord.safeParse(JSON.parse(body)).data ?? null);
}

export async function listProjects(store: StateStore, page: Page): Promise<ProjectRecord[]> {
  const rows = await store.listRecords(KIND, page);
  return rows
    .map(({ body }) => projectRecord.safeParse(JSON.parse(body)).data)
    .filter((record) => record !== undefined);
}

/** False: somebody else wrote in between, or has deleted it. */
export async function writeProject(store: StateStore, record: ProjectRecord): Promise<boolean> {
  return (await store.writeRecord(KIND, record.slug, JSON.stringify(record), record.version)).written;
}

/** False: there is one of that slug. */
export function createProject(store: StateStore, record: ProjectRecord): Promise<boolean> {
  return inTurn(store, record.slug, async () => {
    return (await readProject(store, record.slug)) === null && (await writeProject(store, record));
  });
}

/** Null: there is no such project. */
export function changeProject(
  store: StateStore,
  slug: string,
  change: (record: ProjectRecord) => ProjectRecord,
): Promise<ProjectRecord | null> {
  return inTurn(store, slug, async () => {
    const record = await readProject(store, slug);
    if (record === null) return null;
    const next = { ...change(record), version: record.version + 1 };
    return (await writeProject(store, next)) ? next : null;
  });
}

/** A read and a write take milliseconds; whoever holds it longer has ended. */
const TURN_MS = 5_000;
const TURN_PAUSE_MS = 20;

/** The store takes a write of the version that it has: it may be the same write again. So writers of one project take turns. */
async function inTurn<T>(store: StateStore, slug: string, work: () => Promise<T>): Promise<T> {
  const name = `project:${slug}`;
  const token = crypto.randomUUID();
  while (!(await store.acquireLease(name, token, TURN_MS)).acquired) {
    await new Promise((resolve) => setTimeout(resolve, TURN_PAUSE_MS));
  }
  try {
    return await work();
  } finally {
    await store.releaseLease(name, token).catch(() => undefined); // it ends by itself
  }
}

/** What a project's slug was before. Builds keep it in their ids. */
export async function writeFormerSlug(store: StateStore, former: string, slug: string): Promise<void> {
  await store.writeRecord(FORMER_SLUG, former, slug);
}

/** The slug that a project has now. */
export async function slugSince(store: StateStore, former: string): Promise<string | null> {
  return store.readRecord(FORMER_SLUG, former);
}

export async function deleteProject(store: StateStore, { slug, version }: ProjectRecord): Promise<void> {
  await store.deleteRecord(KIND, slug, version + 1);
}
