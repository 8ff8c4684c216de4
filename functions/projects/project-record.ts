import { z } from "zod";
import type { Page, StateStore } from "../state/store.ts";

const KIND = "project";

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

export async function deleteProject(store: StateStore, { slug, version }: ProjectRecord): Promise<void> {
  await store.deleteRecord(KIND, slug, version + 1);
}
