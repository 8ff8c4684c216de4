import { chmod, lchown, lstat, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { FileLock } from "../processes/file-lock.ts";
import type { GuestUser } from "./confinement.ts";

export interface UserRange {
  first: number;
  last: number;
}

/** Every user may write here: what a removed guest left would be found by the next one with its number. */
const FOR_EVERYBODY = ["/tmp", "/var/tmp", "/dev/shm"];

/** Runners on one machine never give away the same number: each holds what it gives from, in blocks. */
const BLOCK = 100;
const LOCKS = "/run/signalbox";

/** Hands out system users to guests: a number for each, and a group for each app, whose deployments share a home. */
export class GuestUsers {
  readonly #range: UserRange;
  readonly #users = new Map<string, GuestUser>();
  /** Numbers that this machine has given to somebody. */
  readonly #reserved = new Set<number>();
  /** By their first number; null: another runner's. */
  readonly #blocks = new Map<number, FileLock | null>();
  #last = 0;

  private constructor(range: UserRange) {
    this.#range = range;
  }

  static async open(range: UserRange): Promise<GuestUsers> {
    await mkdir(LOCKS, { recursive: true, mode: 0o700 });
    const users = new GuestUsers(range);
    for (const file of ["/etc/passwd", "/etc/group"]) {
      const text = await readFile(file, "utf8").catch(() => ""); // nobody has a name here
      for (const line of text.split("\n")) users.#reserved.add(Number(line.split(":")[2]));
    }
    return users;
  }

  /** The same for a key until it is released. What it had before this runner started, it keeps if nobody else has it. */
  async assign(key: string, before: GuestUser | null): Promise<GuestUser> {
    const known = this.#users.get(key);
    if (known !== undefined) return known;
    const app = key.split("/", 1)[0];
    const sibling = [...this.#users].find(([other]) => other.split("/", 1)[0] === app)?.[1];
    const gid = sibling?.gid ?? (await this.#take(before?.gid));
    // Two at the same time must not find the same number: what is found counts as taken at once.
    const user = { uid: 0, gid };
    this.#users.set(key, user);
    user.uid = await this.#take(before?.uid);
    return user;
  }

  /** Whether a number is this runner's to give, so that no other runner's guest has it. */
  async owns(number: number): Promise<boolean> {
    const { first, last } = this.#range;
    return number >= first && number <= last && (await this.#hasBlock(number));
  }

  release(key: string): GuestUser | null {
    const user = this.#users.get(key) ?? null;
    this.#users.delete(key);
    return user;
  }

  close(): void {
    for (const lock of this.#blocks.values()) lock?.release();
    this.#blocks.clear();
  }

  /** In turn, not the lowest, so that a number comes back as late as can be. */
  async #take(wanted: number | undefined): Promise<number> {
    if (wanted !== undefined && this.#isFree(wanted) && (await this.owns(wanted)) && this.#isFree(wanted))
      return wanted;
    const { first, last } = this.#range;
    const count = last - first + 1;
    for (let step = 1; step <= count; step++) {
      const number = first + ((this.#last + step) % count);
      if (!this.#isFree(number) || !(await this.#hasBlock(number)) || !this.#isFree(number)) continue;
      this.#last = number - first;
      return number;
    }
    throw new Error(`All users from ${first} to ${last} are taken: set RUNNER_GUEST_USERS to more of them.`);
  }

  #isFree(number: number): boolean {
    if (this.#reserved.has(number)) return false;
    return ![...this.#users.values()].some(({ uid, gid }) => uid === number || gid === number);
  }

  async #hasBlock(number: number): Promise<boolean> {
    const block = number - (number % BLOCK);
    if (!this.#blocks.has(block)) {
      const lock = await FileLock.take(join(LOCKS, `guest-users-${block}.lock`));
      // Somebody else here may have asked at the same time.
      if (this.#blocks.get(block) instanceof FileLock) return true;
      this.#blocks.set(block, lock instanceof FileLock ? lock : null);
    }
    return this.#blocks.get(block) !== null;
  }
}

/** Who else may use a tree: nobody, a group as its owner does, or everybody who only reads it. */
type Mode = 0o700 | 0o2770 | 0o755;

/**
 * Gives a tree to a user, unless it has it already. Nothing of a guest may run in it: a directory that becomes a link
 * midway would give away what it points at.
 */
export async function giveTree(path: string, user: GuestUser, mode: Mode): Promise<void> {
  const { uid: owner, gid: group } = await lstat(path);
  if (owner !== user.uid || group !== user.gid) await giveAll(path, user, mode);
  await chmod(path, mode);
}

async function giveAll(path: string, user: GuestUser, mode: Mode): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inside = join(path, entry.name);
    if (entry.isDirectory()) {
      await giveAll(inside, user, mode);
      continue;
    }
    await lchown(inside, user.uid, user.gid);
    if (entry.isFile()) await widen(inside, mode);
  }
  // Last, so that an interrupted walk is begun again.
  await widen(path, mode);
  await lchown(path, user.uid, user.gid);
}

/** Lets others do what the owner may, as far as a mode goes. */
async function widen(path: string, mode: Mode): Promise<void> {
  if (mode === 0o700) return;
  const { mode: present } = await lstat(path);
  const owners = (present & 0o700) >> 6;
  await chmod(path, (present & 0o7777) | (mode === 0o2770 ? owners << 3 : (owners & 0o5) * 0o11));
}

/** Deletes what a user left where everybody may write. */
export async function sweepFilesOf(uid: number): Promise<void> {
  for (const directory of FOR_EVERYBODY) {
    for (const name of await readdir(directory).catch(() => [])) {
      const path = join(directory, name);
      const owner = (await lstat(path).catch(() => null))?.uid; // deleted meanwhile
      if (owner === uid) await rm(path, { recursive: true, force: true });
    }
  }
}
