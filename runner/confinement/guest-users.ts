import { chmod, lchown, lstat, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { GuestUser } from "./confinement.ts";

export interface UserRange {
  first: number;
  last: number;
}

/** Every user may write here: what a removed guest left would be found by the next one with its number. */
const FOR_EVERYBODY = ["/tmp", "/var/tmp", "/dev/shm"];

/** Hands out system users to guests: a number for each, and a group for each app, whose deployments share a home. */
export class GuestUsers {
  readonly #range: UserRange;
  readonly #users = new Map<string, GuestUser>();
  readonly #reserved: ReadonlySet<number>;
  #next: number;

  private constructor(range: UserRange, reserved: ReadonlySet<number>) {
    this.#range = range;
    this.#reserved = reserved;
    this.#next = range.first;
  }

  /** Leaves out the numbers that this machine has given to somebody. */
  static async open(range: UserRange): Promise<GuestUsers> {
    const reserved = new Set<number>();
    for (const file of ["/etc/passwd", "/etc/group"]) {
      const text = await readFile(file, "utf8").catch(() => ""); // nobody has a name here
      for (const line of text.split("\n")) reserved.add(Number(line.split(":")[2]));
    }
    return new GuestUsers(range, reserved);
  }

  /** The same for a key until it is released. What it had before this runner started, it keeps if nobody else has it. */
  assign(key: string, before: GuestUser | null): GuestUser {
    const known = this.#users.get(key);
    if (known !== undefined) return known;
    const app = key.split("/", 1)[0];
    const sibling = [...this.#users].find(([other]) => other.split("/", 1)[0] === app)?.[1];
    const gid = sibling?.gid ?? (before !== null && this.#isFree(before.gid) ? before.gid : this.#take());
    const user = {
      uid: before !== null && before.uid !== gid && this.#isFree(before.uid) ? before.uid : 0,
      gid,
    };
    this.#users.set(key, user);
    if (user.uid === 0) user.uid = this.#take();
    return user;
  }

  release(key: string): GuestUser | null {
    const user = this.#users.get(key) ?? null;
    this.#users.delete(key);
    return user;
  }

  /** In turn, not the lowest, so that a number comes back as late as can be. */
  #take(): number {
    const { first, last } = this.#range;
    for (let tried = first; tried <= last; tried++) {
      const number = this.#next;
      this.#next = number === last ? first : number + 1;
      if (this.#isFree(number)) return number;
    }
    throw new Error(`All users from ${first} to ${last} are taken: set RUNNER_GUEST_USERS to more of them.`);
  }

  #isFree(number: number): boolean {
    const { first, last } = this.#range;
    if (number < first || number > last || this.#reserved.has(number)) return false;
    return ![...this.#users.values()].some(({ uid, gid }) => uid === number || gid === number);
  }
}

/**
 * Gives a tree to a user, or with a mode for a group to all of that group, unless they have it already. Nothing of a
 * guest may run in it: a directory that becomes a link midway would give away what it points at.
 */
export async function giveTree(
  path: string,
  { uid, gid }: GuestUser,
  mode: 0o700 | 0o755 | 0o2770,
): Promise<void> {
  const { uid: owner, gid: group } = await lstat(path);
  if (owner !== uid || group !== gid) await giveAll(path, uid, gid, mode === 0o2770);
  await chmod(path, mode);
}

async function giveAll(path: string, uid: number, gid: number, isShared: boolean): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inside = join(path, entry.name);
    if (entry.isDirectory()) {
      await giveAll(inside, uid, gid, isShared);
      continue;
    }
    await lchown(inside, uid, gid);
    if (isShared && entry.isFile()) await shareWithGroup(inside);
  }
  // Last, so that an interrupted walk is begun again.
  if (isShared) await shareWithGroup(path);
  await lchown(path, uid, gid);
}

/** The group may do what the owner may. */
async function shareWithGroup(path: string): Promise<void> {
  const { mode } = await lstat(path);
  await chmod(path, (mode & 0o7777) | ((mode & 0o700) >> 3));
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
