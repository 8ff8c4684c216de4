import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { buildStates } from "../../functions/protocol/builds.ts";
import { REMOTE_LIMIT } from "../../functions/protocol/project-git.ts";
import { BRANCH_PATTERN } from "../git/remote.ts";
import { isSystemError } from "../runner-error.ts";
import { SHA256_PATTERN } from "../sources/source-store.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";

/** What a project begins with: a git address, or an uploaded archive. */
export const importSource = z.union([
  z.strictObject({ url: z.string().max(REMOTE_LIMIT), branch: z.string().regex(BRANCH_PATTERN).nullable() }),
  z.strictObject({ sha256: z.string().regex(SHA256_PATTERN) }),
]);
export type ImportSource = z.infer<typeof importSource>;

const projectManifest = z.object({
  schema: z.literal(1),
  slug: z.string(),
  name: z.string(),
  /** The agent of its builds that name none. */
  agent: z.string(),
  /** The agents' own sessions, by agent, for builds that go on. */
  sessions: z.record(z.string(), z.string()),
  /** What those sessions have cost, as the agents count. */
  costs: z.record(z.string(), z.number()).default({}),
  framework: z.string().nullable(),
  /** The system user of its processes, where guests have one. */
  user: z.object({ uid: z.int(), gid: z.int() }).nullable().default(null),
  source: importSource.nullable().default(null),
  /** What a cleanup deleted, until the next build or start has brought it back. */
  cleaned: z.enum(["packages", "files"]).nullable().default(null),
  /** What asked for it; a repeat has the same one. Null: SentryVibe, or an older hub. */
  creation: z.string().nullable().default(null),
  createdAt: z.string(),
});
export type ProjectManifest = z.infer<typeof projectManifest>;

const buildManifest = z.object({
  schema: z.literal(1),
  id: z.string(),
  prompt: z.string(),
  agent: z.string(),
  state: z.enum(buildStates),
  reason: z.string().nullable(),
  /** How often the agent was given an error to mend. */
  repairs: z.int(),
  /** Checkpoints: of the project as the build found it, and of its last turn's end. */
  before: z.int().nullable().default(null),
  after: z.int().nullable().default(null),
  /** Somebody took back what it changed. */
  undone: z.boolean().default(false),
  /** Of its own, beside the runner's. */
  limits: z
    .object({
      seconds: z.number().optional(),
      silenceSeconds: z.number().optional(),
      turns: z.int().optional(),
      outputBytes: z.int().optional(),
      cost: z.number().optional(),
    })
    .default({}),
  /** Of its prompt: files in the build's directory. */
  images: z.array(z.string()).default([]),
  createdAt: z.string(),
  updatedAt: z.string(),
});
export type BuildManifest = z.infer<typeof buildManifest>;

export const projectFile = {
  save: (directory: string, manifest: ProjectManifest) => save(join(directory, "project.json"), manifest),
  load: (directory: string) => load(join(directory, "project.json"), projectManifest),
};

export const buildFile = {
  save: (directory: string, manifest: BuildManifest) => save(join(directory, "build.json"), manifest),
  load: (directory: string) => load(join(directory, "build.json"), buildManifest),
};

async function save(file: string, manifest: object): Promise<void> {
  await mkdir(join(file, ".."), { recursive: true, mode: 0o700 });
  await writeFileAtomically(file, JSON.stringify(manifest));
}

/** Null: it was never accepted. */
async function load<T>(file: string, schema: z.ZodType<T>): Promise<T | null> {
  try {
    const value: unknown = JSON.parse(await readFile(file, "utf8"));
    return schema.parse(value);
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return null;
    throw new Error(`${file} is damaged. Restore it, or delete the project.`, { cause: error });
  }
}
