import { readFile } from "node:fs/promises";
import { findFamily, type ProcessRow, readTable } from "../processes/process-table.ts";
import { complain } from "../terminal/complain.ts";
import { Cgroup, type GroupEvents } from "./cgroups.ts";
import type { Guest } from "./guest.ts";
import { type GuestLimits, mebibytes } from "./guest-limits.ts";

const LOOK_LEAST_MS = 500;
/** Reading the table of a machine with 10,000 processes takes 300 ms. */
const REST_FACTOR = 10;
/** Said so often for one guest at most. */
const SAY_INTERVAL_MS = 60_000;

interface Watched {
  guest: Guest;
  family: Map<number, string>;
  events: GroupEvents | null;
  saidAt: number;
}

/**
 * Holds each guest to its memory and number of processes where the kernel doesn't, says in its log when the kernel did,
 * and remembers whom it has started, so that who leaves the family later is still known.
 */
export class ProcessWatch {
  readonly #limits: GuestLimits;
  readonly #keeps: { memory: boolean; processes: boolean };
  readonly #guests = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(limits: GuestLimits, keeps: { memory: boolean; processes: boolean }) {
    this.#limits = limits;
    this.#keeps = keeps;
    this.#schedule(LOOK_LEAST_MS);
  }

  add(guest: Guest): () => void {
    const family = new Map<number, string>();
    guest.quarry.family = family;
    const watched: Watched = { guest, family, events: null, saidAt: -Infinity };
    this.#guests.add(watched);
    return () => {
      // What the kernel did last is why it has ended.
      void this.#tellEvents(watched).catch(() => undefined);
      this.#guests.delete(watched);
    };
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #schedule(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#lookAndGoOn(), delayMs);
    this.#timer.unref();
  }

  async #lookAndGoOn(): Promise<void> {
    const begun = performance.now();
    try {
      await this.#look();
    } catch (error) {
      complain("processes: can't watch them", error);
    }
    this.#schedule(Math.max(LOOK_LEAST_MS, REST_FACTOR * (performance.now() - begun)));
  }

  async #look(): Promise<void> {
    if (this.#guests.size === 0) return;
    const isWatching = !this.#keeps.memory || !this.#keeps.processes;
    const rows = isWatching ? await readTable() : [];
    for (const watched of this.#guests) {
      await this.#tellEvents(watched);
      if (isWatching) await this.#checkFamily(watched, rows);
    }
  }

  async #tellEvents(watched: Watched): Promise<void> {
    const { guest, events: before } = watched;
    const { group } = guest.quarry;
    if (!(group instanceof Cgroup)) return;
    const events = await group.events();
    watched.events = events;
    const { memoryBytes, processes } = this.#limits;
    if (events.memory > (before?.memory ?? 0) && memoryBytes !== null) {
      guest.say(
        `The system ended it at its limit of memory: RUNNER_GUEST_MEMORY is ${mebibytes(memoryBytes)}.`,
      );
    }
    const now = performance.now();
    if (events.processes > (before?.processes ?? 0) && now - watched.saidAt >= SAY_INTERVAL_MS) {
      watched.saidAt = now;
      guest.say(`It can't start more processes and threads: RUNNER_GUEST_PROCESSES is ${processes}.`);
    }
  }

  async #checkFamily(watched: Watched, rows: readonly ProcessRow[]): Promise<void> {
    const { guest, family } = watched;
    const found = await findFamily(guest.quarry, rows);
    family.clear();
    for (const { pid, startTime } of found) family.set(pid, startTime);
    const { memoryBytes, processes } = this.#limits;
    const threads = found.reduce((sum, row) => sum + row.threads, 0);
    if (!this.#keeps.processes && processes !== null && threads > processes) {
      return this.#end(
        watched,
        `it has ${threads} processes and threads, and RUNNER_GUEST_PROCESSES is ${processes}`,
      );
    }
    if (this.#keeps.memory || memoryBytes === null) return;
    let bytes = found.reduce((sum, row) => sum + row.residentBytes, 0);
    // Forked workers share much of it: the exact sum costs more.
    if (bytes > memoryBytes) bytes = await proportionalBytes(found);
    if (bytes > memoryBytes) {
      this.#end(
        watched,
        `it takes ${mebibytes(bytes)} of memory, and RUNNER_GUEST_MEMORY is ${mebibytes(memoryBytes)}`,
      );
    }
  }

  #end(watched: Watched, why: string): void {
    this.#guests.delete(watched);
    complain(`deployment ${watched.guest.key} is stopped: ${why}`);
    watched.guest.exceeded(`Stopped: ${why}`);
  }
}

/** What they share counts once. */
async function proportionalBytes(rows: readonly ProcessRow[]): Promise<number> {
  const sizes = await Promise.all(
    rows.map(async ({ pid, residentBytes }) => {
      const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => "");
      const kibibytes = /^Pss:\s+(\d+) kB$/m.exec(text)?.[1];
      return kibibytes === undefined ? residentBytes : Number(kibibytes) * 1024;
    }),
  );
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}
