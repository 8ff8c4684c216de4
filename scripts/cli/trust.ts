import { statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { Failure } from "./failure.ts";
import { configDirectory, readPrivate, writePrivate } from "./private-file.ts";

/** What a `signalbox.json` says that could do harm where somebody else wrote it, and that was agreed to. */
export interface Approval {
  /** `server`: where tokens go. `prepare`: what runs on this machine. */
  kind: "server" | "prepare";
  /** The configuration file that says it. */
  file: string;
  value: string;
}

const approvals = z.object({
  approvals: z.array(z.object({ kind: z.enum(["server", "prepare"]), file: z.string(), value: z.string() })),
});

/** Where approvals are kept, beside the logins. */
export function approvalsFile(env: Record<string, string | undefined>): string {
  return join(configDirectory(env), "approvals.json");
}

export async function isApproved(file: string, wanted: Approval): Promise<boolean> {
  return (await readApprovals(file)).some((known) => same(known, wanted));
}

/** One per file and kind: a file that changes is asked about again, also when it changes back. */
export async function approve(file: string, approval: Approval): Promise<void> {
  const others = (await readApprovals(file)).filter(
    (known) => known.kind !== approval.kind || known.file !== approval.file,
  );
  await writePrivate(file, { approvals: [...others, approval] });
}

async function readApprovals(file: string): Promise<Approval[]> {
  const text = await readPrivate(file);
  if (text === null) return [];
  try {
    return approvals.parse(JSON.parse(text)).approvals;
  } catch {
    throw new Failure("config", "bad_approvals_file", `${file} is damaged. Delete it; you are asked again.`);
  }
}

function same(one: Approval, other: Approval): boolean {
  return one.kind === other.kind && one.file === other.file && one.value === other.value;
}

/**
 * The directories whose files speak for a directory: itself and those above it up to its repository's root, or itself
 * alone outside of a repository. What lies beyond was written for something else, or by somebody else.
 */
export function directoriesUpward(directory: string): string[] {
  const path: string[] = [];
  for (let at = resolve(directory); ; at = dirname(at)) {
    path.push(at);
    if (exists(join(at, ".git"))) return path;
    if (dirname(at) === at) return [resolve(directory)];
  }
}

/** Whether a file belongs to whoever runs this, or to root; through sudo also to whoever called it. As git's safe.directory. */
export function isOurs(file: string, env: Record<string, string | undefined>): boolean {
  const me = process.getuid?.();
  if (me === undefined) return true;
  const { uid } = statSync(file);
  return uid === me || uid === 0 || (me === 0 && String(uid) === env["SUDO_UID"]);
}

function exists(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false }) !== undefined;
}
