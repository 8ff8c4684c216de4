import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { TEMPORARY_FILE, writeFileAtomically } from "../workspaces/atomic-file.ts";
import { endProcesses } from "./end-processes.ts";
import { noProcessGroups, type ProcessGroups } from "./process-group.ts";
import { bootId, type Quarry } from "./process-table.ts";

/** A well-behaved server without visitors ends sooner; a starting runner waits for it. */
const ORPHAN_GRACE_MS = 3_000;

const entrySchema = z.object({
  marker: z.uuid(),
  owner: z.string(),
  bootId: z.string(),
  /** The system user that only this owner has. */
  uid: z.int().positive().nullable().default(null),
  leader: z.object({ pid: z.int().positive(), startTime: z.string() }).nullable(),
  /** Of builds before these, an entry has neither. */
  group: z.string().nullable().default(null),
  directory: z.string().nullable().default(null),
});
export type JournalEntry = z.infer<typeof entrySchema>;

/**
 * The processes that this runner has started, on disk: one file each, written before the start and deleted once the
 * process and all that it started are gone. What a starting runner finds in it are the orphans of a killed one.
 */
export class ProcessJournal {
  readonly #directory: string;
  readonly #bootId: string;

  private constructor(directory: string, bootId: string) {
    this.#directory = directory;
    this.#bootId = bootId;
  }

  static async open(directory: string): Promise<ProcessJournal> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return new ProcessJournal(directory, await bootId());
  }

  /** Without a leader: about to be started. From here on the marker alone is enough to find it again. */
  async record(entry: Omit<z.input<typeof entrySchema>, "bootId">): Promise<void> {
    const text = JSON.stringify({ ...entry, bootId: this.#bootId });
    await writeFileAtomically(this.#file(entry.marker), text);
  }

  async forget(marker: string): Promise<void> {
    await rm(this.#file(marker), { force: true });
  }

  /**
   * Ends what an earlier runner left running, by identity and by what holds it together. `ownsUser`: no other
   * runner's guest has this user. Returns the owners of what was found in the journal.
   */
  async reapOrphans(
    ownsUser: (uid: number) => Promise<boolean> = () => Promise.resolve(false),
    groups: ProcessGroups = noProcessGroups,
  ): Promise<string[]> {
    const owners: string[] = [];
    const work: Promise<void>[] = [];
    for (const name of await readdir(this.#directory)) {
      const file = join(this.#directory, name);
      const entry = TEMPORARY_FILE.test(name) ? null : parseEntry(await readFile(file, "utf8"));
      if (entry === null) {
        await rm(file, { force: true });
        continue;
      }
      owners.push(entry.owner);
      // Else the machine has restarted: those processes are gone, and their ids may be anybody's.
      const isOfThisStart = entry.bootId === this.#bootId;
      const quarry = {
        marker: entry.marker,
        leader: isOfThisStart ? entry.leader : null,
        isOwnChild: false,
        uid: entry.uid !== null && (await ownsUser(entry.uid)) ? entry.uid : null,
        group: isOfThisStart && entry.group !== null ? groups.open(entry.group) : null,
        directory: isOfThisStart ? entry.directory : null,
      };
      work.push(this.#reap(quarry));
    }
    await Promise.all(work);
    return owners;
  }

  async #reap(quarry: Quarry): Promise<void> {
    await endProcesses(quarry, ORPHAN_GRACE_MS);
    await quarry.group?.remove();
    await this.forget(quarry.marker);
  }

  #file(marker: string): string {
    return join(this.#directory, `${marker}.json`);
  }
}

function parseEntry(text: string): JournalEntry | null {
  try {
    return entrySchema.parse(JSON.parse(text));
  } catch {
    // Only this class writes here, and whole files: this is no entry.
    return null;
  }
}
