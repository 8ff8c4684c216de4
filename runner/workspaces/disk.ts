import { statfs } from "node:fs/promises";
import { RunnerError } from "../runner-error.ts";
import { complain } from "../terminal/complain.ts";
import { DiskUsage } from "./disk-usage.ts";

/** Room that work under way, logs and journals can still use once new work is refused. */
const LOW_WATER_BYTES = 1024 * 1024 * 1024;
/** On a small volume a fixed mark would refuse everything. */
const LOW_WATER_SHARE = 0.1;
/** What is left of the low-water mark when hosted apps are stopped: the runner and the edge keep it for themselves. */
const RESERVE_SHARE = 0.5;
/** Inodes by the same rule: a file system without a fixed number of them says 0. */
const LOW_WATER_INODES = 50_000;
/** How often it looks for room by itself. */
const WATCH_INTERVAL_MS = 15_000;

/** Something that may be deleted: it can be made again, or is unreferenced. */
export interface Evictable {
  path: string;
  evict(): Promise<void>;
}

/** Offers what may be deleted, most dispensable first. */
export type Evictor = () => Promise<Evictable[]>;

export interface DiskStatus {
  /** `low`: evicting, below twice the low-water mark. `full`: below it, new work is refused. */
  state: "ok" | "low" | "full";
  freeBytes: number;
  /** Promised to work under way. */
  reservedBytes: number;
  lowWaterBytes: number;
  /** Below it, hosted apps that grow are stopped. */
  reserveBytes: number;
  /** Null: the file system has no fixed number. */
  freeInodes: number | null;
  lowWaterInodes: number;
  quotaBytes: number | null;
  /** Only measured if there is a quota. */
  usedBytes: number | null;
  evictions: number;
  lastEvictionAt: string | null;
}

/** What is free, as the file system says at once. */
export interface Room {
  bytes: number;
  /** Infinity: no fixed number. */
  inodes: number;
  /** So little that the reserve is begun. */
  isReserve: boolean;
  /** So little that new work is refused. */
  isFull: boolean;
  /** Twice that: nothing is evicted. */
  isPlenty: boolean;
}

/** Room promised to one piece of work. */
export interface Reservation {
  /**
   * Reports the bytes written since the last call and asks for the next ones. Throws `disk_full` as
   * {@link Disk.reserve} does.
   */
  renew(written: number, bytes: number): Promise<void>;
  release(): void;
}

export interface DiskOptions {
  root: string;
  /** What everything below `root` may occupy; without one the file system is the limit. */
  quotaBytes?: number | undefined;
  lowWaterBytes?: number | undefined;
  watchIntervalMs?: number;
}

/** Keeps the workspace from filling its disk: promises room, evicts, and refuses new work before it is too late. */
export class Disk {
  readonly #root: string;
  readonly #quotaBytes: number | null;
  readonly #lowWaterBytes: number;
  readonly #lowWaterInodes: number;
  readonly #usage: DiskUsage | null;
  readonly #evictors: Evictor[] = [];
  readonly #watch: NodeJS.Timeout;
  #reserved = 0;
  #evictions = 0;
  #lastEvictionAt: string | null = null;
  #evicting: Promise<void> | null = null;

  private constructor(options: DiskOptions, lowWaterBytes: number, lowWaterInodes: number) {
    this.#root = options.root;
    this.#quotaBytes = options.quotaBytes ?? null;
    this.#usage = this.#quotaBytes === null ? null : new DiskUsage(options.root);
    this.#lowWaterBytes = lowWaterBytes;
    this.#lowWaterInodes = lowWaterInodes;
    this.#watch = setInterval(() => {
      this.#relieve(0).catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        complain(`disk: can't see whether ${this.#root} needs room (${why}). Check WORKSPACE_ROOT.`);
      });
    }, options.watchIntervalMs ?? WATCH_INTERVAL_MS);
    this.#watch.unref();
  }

  static async open(options: DiskOptions): Promise<Disk> {
    const { bsize, blocks, files } = await statfs(options.root);
    const total = Math.min(bsize * blocks, options.quotaBytes ?? Infinity);
    const mark = options.lowWaterBytes ?? Math.min(LOW_WATER_BYTES, Math.floor(total * LOW_WATER_SHARE));
    return new Disk(options, mark, Math.min(LOW_WATER_INODES, Math.floor(files * LOW_WATER_SHARE)));
  }

  /** Below it, hosted apps that grow are stopped. */
  get reserveBytes(): number {
    return RESERVE_SHARE * this.#lowWaterBytes;
  }

  /** Evictors are asked in the order in which they were added. */
  addEvictor(evictor: Evictor): void {
    this.#evictors.push(evictor);
  }

  /** Something at or below this path has been written or deleted. */
  touch(path: string): void {
    this.#usage?.touch(path);
  }

  /** Promises room for new work at a path, after evicting if need be. Throws {@link RunnerError} `disk_full`. */
  async reserve(bytes: number, path: string = this.#root): Promise<Reservation> {
    let held = 0;
    const hold = (more: number): void => {
      this.#reserved += more - held;
      held = more;
    };
    const renew = async (written: number, more: number): Promise<void> => {
      this.#usage?.grow(path, written);
      // Promise first, look second: two callers at the same time must not get the same room.
      hold(more);
      await this.#requireRoom().catch((error: unknown) => {
        hold(0);
        throw error;
      });
    };
    await renew(0, bytes);
    return { renew, release: () => hold(0) };
  }

  /** For `/health` and the runner's status; cheap enough to ask every second. */
  async status(): Promise<DiskStatus> {
    const { free, inodes, used } = await this.#free();
    const isBelow = (marks: number): boolean =>
      free < marks * this.#lowWaterBytes || inodes < marks * this.#lowWaterInodes;
    return {
      state: isBelow(1) ? "full" : isBelow(2) ? "low" : "ok",
      freeBytes: free,
      reservedBytes: this.#reserved,
      lowWaterBytes: this.#lowWaterBytes,
      reserveBytes: this.reserveBytes,
      freeInodes: Number.isFinite(inodes) ? inodes : null,
      lowWaterInodes: this.#lowWaterInodes,
      quotaBytes: this.#quotaBytes,
      usedBytes: used,
      evictions: this.#evictions,
      lastEvictionAt: this.#lastEvictionAt,
    };
  }

  /** What the file system has left: a system call, without a look at the quota. */
  async room(): Promise<Room> {
    const { bytes, inodes } = await this.#left();
    const isBelow = (share: number): boolean =>
      bytes < share * this.#lowWaterBytes || inodes < share * this.#lowWaterInodes;
    return { bytes, inodes, isReserve: isBelow(RESERVE_SHARE), isFull: isBelow(1), isPlenty: !isBelow(2) };
  }

  /** Evicts what can be made again, if room is short. */
  relieve(): Promise<void> {
    return this.#relieve(0);
  }

  close(): void {
    clearInterval(this.#watch);
  }

  async #left(): Promise<{ bytes: number; inodes: number }> {
    const { bsize, bavail, files, ffree } = await statfs(this.#root);
    return { bytes: bsize * bavail, inodes: files === 0 ? Infinity : ffree };
  }

  async #requireRoom(): Promise<void> {
    const isEnough = async (): Promise<boolean> => this.#has(1, this.#reserved);
    if (await isEnough()) return;
    await this.#relieve(this.#reserved);
    if (await isEnough()) return;
    const { inodes } = await this.#left();
    throw new RunnerError(
      "disk_full",
      inodes < this.#lowWaterInodes
        ? "The runner's disk has no room for more files: delete projects or deployments, or enlarge it."
        : "The runner's disk is full: delete projects or deployments, or enlarge it.",
    );
  }

  /** Evicts until `bytes` fit above twice the low-water mark, or nothing is left to evict. */
  async #relieve(bytes: number): Promise<void> {
    if (await this.#has(2, bytes)) return;
    this.#evicting ??= this.#evict(bytes).finally(() => (this.#evicting = null));
    await this.#evicting;
  }

  async #evict(bytes: number): Promise<void> {
    for (const evictor of this.#evictors) {
      for (const evictable of await evictor()) {
        if (await this.#has(2, bytes)) return;
        try {
          await evictable.evict();
        } catch (error) {
          // The others can still go.
          complain(`disk: can't evict ${evictable.path}`, error);
          continue;
        }
        this.#usage?.forget(evictable.path);
        this.#evictions++;
        this.#lastEvictionAt = new Date().toISOString();
      }
    }
  }

  /** Whether so many low-water marks are free beside these bytes. */
  async #has(marks: number, bytes: number): Promise<boolean> {
    const { free, inodes } = await this.#free();
    return free - bytes >= marks * this.#lowWaterBytes && inodes >= marks * this.#lowWaterInodes;
  }

  async #free(): Promise<{ free: number; inodes: number; used: number | null }> {
    const { bytes, inodes } = await this.#left();
    if (this.#usage === null || this.#quotaBytes === null) return { free: bytes, inodes, used: null };
    const used = await this.#usage.measure();
    return { free: Math.min(bytes, this.#quotaBytes - used), inodes, used };
  }
}
