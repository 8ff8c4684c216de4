import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { Cleaned, CleanupReport, Spared } from "../../functions/protocol/cleanup.ts";
import { isSystemError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";
import { measureTree } from "../workspaces/disk-usage.ts";
import { type CleanupPolicy, overLimit } from "./policy.ts";

/** Ages are days; each look measures what was used since the last one. */
const INTERVAL_MS = 60 * 60 * 1_000;

/** A project as the cleanup sees it. */
export interface CleanableProject {
  readonly slug: string;
  readonly directory: string;
  /** Milliseconds since 1970. */
  usedAt(): Promise<number>;
  /** Why nothing of it may go now. */
  inUse(): string | null;
  /** Directories that an install or a start makes again. */
  caches(): Promise<string[]>;
  /** Why its files are the only copy of somebody's work. */
  onlyCopy(): Promise<string | null>;
  /** Deletes these while nothing of the project begins; false: something runs. */
  deleteCaches(paths: readonly string[]): Promise<boolean>;
  /** Deletes its files; it stays, and its next build begins with its remote. False: something runs. */
  deleteFiles(): Promise<boolean>;
}

export interface CleanablePackages {
  /** Deletes what is over the limits, or only counts it. */
  trim(limits: CleanupPolicy["packages"], dryRun: boolean): Promise<{ bytes: number; why: string | null }>;
}

export interface CleanupOptions {
  /** Remembers when each project was used: a restart is no use. */
  file: string;
  policy: CleanupPolicy;
  projects: () => readonly CleanableProject[];
  /** What was remembered of the last runner. */
  remember: (slug: string, usedAt: number) => void;
  packages: CleanablePackages | null;
  intervalMs?: number;
}

const stored = z.object({ schema: z.literal(1), usedAt: z.record(z.string(), z.number()) });

interface Seen {
  project: CleanableProject;
  usedAt: number;
  caches: string[];
  cacheBytes: number;
}

/** Deletes what nobody has used for long, caches before anybody's files. */
export class Cleanup {
  readonly #options: CleanupOptions;
  readonly #timer: NodeJS.Timeout;
  /** Measured sizes hold until the project is used again. */
  readonly #measured = new Map<string, { usedAt: number; bytes: number }>();
  #last: CleanupReport | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(options: CleanupOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      this.run(false).catch((error: unknown) => complain("cleanup", error));
    }, options.intervalMs ?? INTERVAL_MS);
    this.#timer.unref();
  }

  static async open(options: CleanupOptions): Promise<Cleanup> {
    const text = await readFile(options.file, "utf8").catch((error: unknown) => {
      if (isSystemError(error, "ENOENT")) return null;
      throw error;
    });
    // A damaged one makes every project count as used now, which deletes nothing.
    const known = text === null ? null : stored.safeParse(jsonOf(text)).data;
    for (const [slug, usedAt] of Object.entries(known?.usedAt ?? {})) options.remember(slug, usedAt);
    return new Cleanup(options);
  }

  /** What the latest one deleted; null: none since the start. */
  get last(): CleanupReport | null {
    return this.#last;
  }

  /** One at a time. */
  run(dryRun: boolean): Promise<CleanupReport> {
    const turn = this.#turn.then(() => this.#run(dryRun));
    this.#turn = turn.catch(() => undefined); // whoever asked for it is told
    return turn;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#turn;
    await this.#save();
  }

  async #run(dryRun: boolean): Promise<CleanupReport> {
    const cleaned: Cleaned[] = [];
    const spared: Spared[] = [];
    const seen = await Promise.all(this.#options.projects().map((project) => this.#see(project)));
    const { policy, packages } = this.#options;
    await this.#cleanCaches(seen, policy.caches, dryRun, cleaned, spared);
    if (packages !== null && !this.#isClosed) {
      const { bytes, why } = await packages.trim(policy.packages, dryRun);
      if (why !== null) cleaned.push({ what: "packages", project: null, bytes, why });
    }
    await this.#cleanProjects(seen, dryRun, cleaned, spared);
    await this.#save();
    const freedBytes = cleaned.reduce((sum, { bytes }) => sum + bytes, 0);
    const report = { at: new Date().toISOString(), dryRun, freedBytes, cleaned, spared };
    if (!dryRun) this.#last = report;
    return report;
  }

  async #see(project: CleanableProject): Promise<Seen> {
    const usedAt = await project.usedAt();
    const caches = await project.caches();
    return { project, usedAt, caches, cacheBytes: await this.#measure("caches", project, usedAt, caches) };
  }

  async #cleanCaches(
    seen: readonly Seen[],
    limits: CleanupPolicy["caches"],
    dryRun: boolean,
    cleaned: Cleaned[],
    spared: Spared[],
  ): Promise<void> {
    const candidates = seen
      .filter(({ caches }) => caches.length > 0)
      .map((one) => ({ ...one, project: one.project.slug, bytes: one.cacheBytes, seen: one }));
    const mayGo = async ({ seen: one }: (typeof candidates)[number]): Promise<boolean> => {
      if (this.#isClosed) return false;
      const why = one.project.inUse();
      if (why === null && (dryRun || (await one.project.deleteCaches(one.caches)))) return true;
      spared.push({ what: "caches", project: one.project.slug, why: why ?? "it was just begun with" });
      return false;
    };
    for (const { candidate, why } of await overLimit(candidates, limits, Date.now(), mayGo)) {
      cleaned.push({ what: "caches", project: candidate.project, bytes: candidate.bytes, why });
      if (!dryRun) this.#forget(candidate.project);
      candidate.seen.caches = [];
      candidate.seen.cacheBytes = 0;
    }
  }

  async #cleanProjects(
    seen: readonly Seen[],
    dryRun: boolean,
    cleaned: Cleaned[],
    spared: Spared[],
  ): Promise<void> {
    const { projects: limits } = this.#options.policy;
    if (Object.values(limits).every((limit) => limit === null)) return;
    const sized = await Promise.all(
      seen.map(async (one) => {
        const { project, usedAt, caches } = one;
        // Package managers keep theirs in the project's home.
        const beside = caches.filter((path) => !path.startsWith(`${project.directory}/`));
        const bytes = await this.#measure("files", project, usedAt, [project.directory, ...beside]);
        return { seen: one, project: project.slug, usedAt, bytes };
      }),
    );
    const candidates = sized.filter(({ bytes }) => bytes > 0);
    // What comes back with an install goes before what somebody wrote.
    const total = candidates.reduce((sum, { bytes }) => sum + bytes, 0);
    if (limits.bytes !== null && total > limits.bytes) {
      const bytes = Math.max(0, sumOfCaches(seen) - (total - limits.bytes));
      const before = cleaned.length;
      await this.#cleanCaches(seen, { ageSeconds: null, count: null, bytes }, dryRun, cleaned, spared);
      for (const { project, bytes: freed } of cleaned.slice(before)) {
        const one = candidates.find((candidate) => candidate.project === project);
        if (one !== undefined) one.bytes = Math.max(0, one.bytes - freed);
      }
    }
    const mayGo = async ({ seen: { project } }: (typeof candidates)[number]): Promise<boolean> => {
      if (this.#isClosed) return false;
      const why = project.inUse() ?? (await project.onlyCopy());
      if (why === null && (dryRun || (await project.deleteFiles()))) return true;
      spared.push({ what: "project", project: project.slug, why: why ?? "it was just begun with" });
      return false;
    };
    for (const { candidate, why } of await overLimit(candidates, limits, Date.now(), mayGo)) {
      if (!dryRun) this.#forget(candidate.project);
      cleaned.push({ what: "project", project: candidate.project, bytes: candidate.bytes, why });
    }
  }

  async #measure(
    kind: string,
    { slug }: CleanableProject,
    usedAt: number,
    paths: readonly string[],
  ): Promise<number> {
    const key = `${slug} ${kind} ${paths.length}`;
    const known = this.#measured.get(key);
    if (known !== undefined && known.usedAt === usedAt) return known.bytes;
    let bytes = 0;
    for (const path of paths) bytes += (await measureTree(path)).bytes;
    this.#measured.set(key, { usedAt, bytes });
    return bytes;
  }

  #forget(slug: string): void {
    for (const key of this.#measured.keys()) if (key.startsWith(`${slug} `)) this.#measured.delete(key);
  }

  async #save(): Promise<void> {
    const entries = await Promise.all(
      this.#options.projects().map(async (project) => [project.slug, await project.usedAt()] as const),
    );
    const usedAt = Object.fromEntries(entries);
    await writeFileAtomically(this.#options.file, JSON.stringify({ schema: 1, usedAt }));
  }
}

function sumOfCaches(seen: readonly Seen[]): number {
  return seen.reduce((sum, { cacheBytes }) => sum + cacheBytes, 0);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
