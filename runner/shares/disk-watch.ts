import { complain } from "../terminal/complain.ts";
import type { Ballast } from "./ballast.ts";
import type { Disk, Room } from "../workspaces/disk.ts";
import { measureTree, type TreeSize } from "../workspaces/disk-usage.ts";
import type { Guest } from "./guest.ts";
import { type GuestLimits, mebibytes } from "./guest-limits.ts";

/** The fastest disks write so much in a second: what is free tells when to look again. */
const FASTEST_BYTES_PER_SECOND = 4 * 1024 ** 3;
const LOOK_LEAST_MS = 50;
const LOOK_MOST_MS = 1_000;
/** Measuring a tree again waits this many times as long as measuring it took. */
const REST_FACTOR = 20;
const REST_LEAST_MS = 1_000;
/** Others may delete as much as one writes. */
const BELIEVED_MS = 60_000;
/** Less than this is what any app writes. */
const GROWTH_BYTES = 1024 * 1024;
const GROWTH_INODES = 500;
/** Whose growth counts when the disk runs out: of the last minutes. */
const MEMORY_MS = 5 * 60_000;

interface Sample extends TreeSize {
  at: number;
}

interface Watched {
  guest: Guest;
  /** Oldest first. */
  samples: Sample[];
  tookMs: number;
}

/**
 * Keeps each guest within its share of the disk, and the reserve free for the runner and the edge. What is free is
 * asked up to 20 times a second, which costs nothing; a guest's tree is only measured after the disk has lost room, and
 * seldom if it is large.
 */
export class DiskWatch {
  readonly #disk: Disk;
  readonly #limits: GuestLimits;
  readonly #ballast: Ballast;
  readonly #guests = new Set<Watched>();
  /** Told to end, and still there. */
  readonly #ending = new Set<Guest>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** When its trees were last measured, or now if there was more room since. */
  #most: Room | null = null;
  #shortAt: Room | null = null;
  #hasComplained = false;

  constructor(disk: Disk, limits: GuestLimits, ballast: Ballast) {
    this.#disk = disk;
    this.#limits = limits;
    this.#ballast = ballast;
    this.#schedule(0);
  }

  add(guest: Guest): () => void {
    const watched: Watched = { guest, samples: [], tookMs: 0 };
    this.#guests.add(watched);
    this.#measure(watched).catch((error: unknown) => complain(`disk: can't measure ${guest.key}`, error));
    return () => {
      this.#guests.delete(watched);
      this.#ending.delete(guest);
    };
  }

  /** Why a deployment with these directories can't start now; null if it can. */
  async whyNot(directories: readonly string[]): Promise<string | null> {
    if ((await this.#disk.room()).isFull) return "the runner's disk is full";
    return this.#whyExceeded(await sizeOf(directories));
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
    let nextMs = LOOK_MOST_MS;
    try {
      nextMs = await this.#look();
    } catch (error) {
      complain("disk: can't watch it", error);
    }
    this.#schedule(nextMs);
  }

  /** Returns when to look again. */
  async #look(): Promise<number> {
    const room = await this.#disk.room();
    // Whoever filled it would take that, too.
    if (this.#ballast.isNeeded(room.bytes) && this.#ending.size === 0) await this.#ballast.give();
    if (room.isReserve) await this.#defend(room);
    else {
      this.#shortAt = null;
      await this.#checkShares(room);
    }
    if (!room.isFull) this.#hasComplained = false;
    if (room.isPlenty && !this.#ballast.isWhole) await this.#ballast.fill();
    const spare = room.bytes - this.#disk.reserveBytes;
    return Math.min(LOOK_MOST_MS, Math.max(LOOK_LEAST_MS, (1_000 * spare) / FASTEST_BYTES_PER_SECOND));
  }

  /** Measures those that are due. */
  async #checkShares(room: Room): Promise<void> {
    const most = (this.#most ??= room);
    if (room.bytes > most.bytes || room.inodes > most.inodes) this.#most = room;
    const lost = most.bytes - room.bytes >= GROWTH_BYTES || most.inodes - room.inodes >= GROWTH_INODES;
    const now = performance.now();
    let isAllMeasured = true;
    for (const watched of this.#guests) {
      const age = now - (watched.samples.at(-1)?.at ?? now);
      const rest = Math.max(lost ? REST_LEAST_MS : BELIEVED_MS, REST_FACTOR * watched.tookMs);
      if (age < rest) {
        isAllMeasured = false;
        continue;
      }
      const why = this.#whyExceeded(await this.#measure(watched));
      if (why !== null) this.#end(watched, `Stopped: ${why}`);
    }
    if (isAllMeasured) this.#most = room;
  }

  /** The disk is nearly full: who has grown most is ended, and then the next one, until nobody grows. */
  async #defend(room: Room): Promise<void> {
    // What is left alone goes on filling it: look again once a part of the reserve is gone.
    if (this.#shortAt !== null && this.#shortAt.bytes - room.bytes < GROWTH_BYTES / 4 && room.inodes > 0)
      return;
    this.#shortAt = room;
    const all = [...this.#guests];
    await Promise.all(all.map((watched) => this.#measure(watched)));
    const growth = all.map((watched) => ({ watched, ...grownBy(watched.samples) }));
    growth.sort((one, other) => weight(other) - weight(one));
    const [first] = growth;
    if (first !== undefined && (first.bytes >= GROWTH_BYTES || first.inodes >= GROWTH_INODES)) {
      const { bytes, inodes } = first;
      const what = bytes >= GROWTH_BYTES ? mebibytes(bytes) : `${inodes} files`;
      this.#end(
        first.watched,
        `Stopped: the runner's disk is nearly full, and this deployment has grown by ${what} lately, more than any other`,
      );
    } else if (!this.#hasComplained) {
      this.#hasComplained = true;
      complain("disk: nearly full, and no hosted app grows. Delete projects or deployments, or enlarge it.");
    }
    await this.#disk.relieve();
  }

  #end(watched: Watched, reason: string): void {
    this.#guests.delete(watched);
    this.#ending.add(watched.guest);
    complain(`deployment ${watched.guest.key}: ${reason}`);
    watched.guest.exceeded(reason);
  }

  #whyExceeded({ bytes, inodes }: TreeSize): string | null {
    const { diskBytes, diskInodes } = this.#limits;
    if (diskBytes !== null && bytes > diskBytes) {
      return `it occupies ${mebibytes(bytes)} on the disk, and RUNNER_GUEST_DISK is ${mebibytes(diskBytes)}`;
    }
    if (diskInodes !== null && inodes > diskInodes) {
      return `it has ${inodes} files and directories, and RUNNER_GUEST_INODES is ${diskInodes}`;
    }
    return null;
  }

  async #measure(watched: Watched): Promise<TreeSize> {
    const at = performance.now();
    const size = await sizeOf(watched.guest.directories);
    const now = performance.now();
    watched.tookMs = now - at;
    watched.samples.push({ ...size, at: now });
    while (watched.samples.length > 1 && now - (watched.samples[0]?.at ?? now) > MEMORY_MS) {
      watched.samples.shift();
    }
    return size;
  }
}

async function sizeOf(directories: readonly string[]): Promise<TreeSize> {
  const seen = new Set<number>();
  const sizes = await Promise.all(directories.map((directory) => measureTree(directory, seen)));
  return sizes.reduce(
    (sum, { bytes, inodes }) => ({ bytes: sum.bytes + bytes, inodes: sum.inodes + inodes }),
    { bytes: 0, inodes: 0 },
  );
}

/** One that was never measured before has grown by all that it is. */
function grownBy(samples: readonly Sample[]): TreeSize {
  const last = samples.at(-1) ?? { bytes: 0, inodes: 0 };
  const least = samples.length < 2 ? [] : samples;
  return {
    bytes: last.bytes - (least.length === 0 ? 0 : Math.min(...least.map(({ bytes }) => bytes))),
    inodes: last.inodes - (least.length === 0 ? 0 : Math.min(...least.map(({ inodes }) => inodes))),
  };
}

/** A small file takes a block. */
function weight({ bytes, inodes }: TreeSize): number {
  return bytes + 4_096 * inodes;
}
