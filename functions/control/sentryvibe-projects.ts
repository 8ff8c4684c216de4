import { z } from "zod";
import { createProject, deleteProject, readProject, type ProjectRecord } from "../projects/project-record.ts";
import { PORT_LABEL } from "../projects/preview-host.ts";
import { RUNNER_SUBPROTOCOL, SLUG_PATTERN } from "../protocol/limits.ts";
import { readRunner } from "../runners/registry.ts";
import type { StateStore } from "../state/store.ts";
import type { ControlContext } from "./context.ts";
import { previewLink } from "./preview-link.ts";

/**
 * Projects that SentryVibe makes on a runner by its own commands: they get a record, and with it a preview, as those of our API
 * have. The runner hears of the preview as `previewUrl` in the command's payload, and tells it as SentryVibe's `tunnelUrl`.
 */

/** SentryVibe's id of a project, under which we keep its slug. */
const ALIAS_KIND = "sentryvibe-project";
const ID_PATTERN = /^[\w.-]{1,200}$/;
/** SentryVibe keeps the address of a tunnel and shows it in a frame for as long as the server runs. */
const LINK_TTL_MS = 7 * 24 * 60 * 60 * 1_000;
const CONCERNED = new Set(["start-build", "start-dev-server", "start-tunnel", "delete-project-files"]);
/** After these the page wants to see something. */
const SHOWN = new Set(["start-build", "start-dev-server", "start-tunnel"]);
const NAME_LIMIT = 100;

const text = z.string().min(1);
const command = z.object({
  type: z.string(),
  projectId: z.string().regex(ID_PATTERN).optional().catch(undefined),
  payload: z
    .object({
      slug: text.optional().catch(undefined),
      projectSlug: text.optional().catch(undefined),
      projectName: text.optional().catch(undefined),
      filePath: text.optional().catch(undefined),
      port: z.int().min(1).max(65_535).optional().catch(undefined),
    })
    .optional()
    .catch(undefined),
});
type Told = z.infer<typeof command>;

export interface Adopted {
  /** What is added to the command's payload. */
  payload: { previewUrl?: string };
  /** Once the command is on its way. */
  sent: () => Promise<void>;
}

/** Makes or finds the record of a command's project. Null: it lives on another runner. */
export async function adoptProject(
  context: ControlContext,
  runnerId: string,
  raw: unknown,
  askedAt: string,
): Promise<Adopted | null> {
  const told = command.safeParse(raw).data;
  const none: Adopted = { payload: {}, sent: () => Promise.resolve() };
  if (told === undefined || !CONCERNED.has(told.type)) return none;
  const slug = await slugOf(context.store, told);
  if (slug === null) return none;
  const { store, now } = context;
  // Nothing goes through a SentryVibe runner, so its projects have no preview.
  if ((await readRunner(store, runnerId))?.protocol !== RUNNER_SUBPROTOCOL) return none;
  const record = (await readProject(store, slug)) ?? newRecord(slug, told, runnerId, now());
  if (record !== null && record.runnerId !== runnerId) return told.type === "start-build" ? null : none;
  if (record === null) return none;
  if (told.type === "delete-project-files" && told.payload?.filePath === undefined) {
    const doomed = record;
    return {
      payload: {},
      sent: async () => {
        await deleteProject(store, doomed);
        if (told.projectId !== undefined) await store.deleteRecord(ALIAS_KIND, told.projectId);
      },
    };
  }
  if (!SHOWN.has(told.type)) return none;
  const port = told.type === "start-tunnel" ? (told.payload?.port ?? null) : null;
  const wanted = { port, once: false, expiresAt: now() + LINK_TTL_MS, askedAt };
  const previewUrl = await previewLink(record, wanted, context);
  const payload = previewUrl === null ? {} : { previewUrl };
  if (told.type !== "start-build") return { ...none, payload };
  return {
    payload,
    sent: async () => {
      await createProject(store, record); // false: it is there
      if (told.projectId !== undefined) await store.writeRecord(ALIAS_KIND, told.projectId, slug);
    },
  };
}

async function slugOf(store: StateStore, { payload, projectId }: Told): Promise<string | null> {
  const named = payload?.projectSlug ?? payload?.slug;
  const known = named ?? (projectId === undefined ? null : await store.readRecord(ALIAS_KIND, projectId));
  const slug = known ?? projectId ?? "";
  return SLUG_PATTERN.test(slug) && !PORT_LABEL.test(slug) ? slug : null;
}

/** Only a build begins a project. */
function newRecord(
  slug: string,
  { type, payload }: Told,
  runnerId: string,
  now: number,
): ProjectRecord | null {
  if (type !== "start-build") return null;
  return {
    schema: 1,
    slug,
    name: (payload?.projectName ?? slug).slice(0, NAME_LIMIT),
    runnerId,
    createdAt: now,
    isPublic: false,
    previewEpoch: 1,
    stray: null,
    creation: null,
    version: now,
  };
}
