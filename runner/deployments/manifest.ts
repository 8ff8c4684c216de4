import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { hostedStates } from "../../functions/protocol/runner-api.ts";
import { isSystemError } from "../runner-error.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";
import { specSchema } from "./spec.ts";

const manifestSchema = z.object({
  schema: z.literal(1),
  key: z.string(),
  spec: specSchema,
  state: z.enum(hostedStates),
  reason: z.string().nullable(),
  lastLines: z.array(z.string()),
  /** The tree in `work` is whole: unpacked, installed and built. Until then it is thrown away at the next start. */
  prepared: z.boolean(),
  /** It has been ready at least once, so a later crash is restarted for ever. */
  wasReady: z.boolean(),
  port: z.int().nullable(),
  /** The system user that it ran as last. */
  user: z.object({ uid: z.int().positive(), gid: z.int().positive() }).nullable().default(null),
  crashes: z.int(),
  createdAt: z.string(),
  updatedAt: z.string(),
});

/** What a runner knows about a deployment after its own restart. */
export type DeploymentManifest = z.infer<typeof manifestSchema>;

const FILE = "deployment.json";

/** It holds the deployment's secrets: only this user may read it. */
export async function saveManifest(directory: string, manifest: DeploymentManifest): Promise<void> {
  await writeFileAtomically(join(directory, FILE), JSON.stringify(manifest), 0o600);
}

/** Null if there is none: the runner was killed before it accepted the deployment, so no caller knows of it. */
export async function loadManifest(directory: string): Promise<DeploymentManifest | null> {
  const file = join(directory, FILE);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return null;
    throw error;
  }
  const damaged = (why: string): Error =>
    new Error(`${file} is damaged (${why}). Restore it, or delete the deployment and deploy it again.`);
  if (text === "") throw damaged("it is empty");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged("it isn't whole");
  }
  const manifest = manifestSchema.safeParse(value);
  if (!manifest.success) throw damaged(`${manifest.error.issues[0]?.path.join(".")} is wrong`);
  return manifest.data;
}
