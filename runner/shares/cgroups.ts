import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { entering } from "../processes/entering.ts";
import type { ProcessGroup, ProcessGroups } from "../processes/process-group.ts";
import { isSystemError } from "../runner-error.ts";

/** Where the runner itself goes: a cgroup that gives controllers to its children has no processes of its own. */
const OWN_LEAF = "signalbox-runner";
/** The last process of a group is gone from it a moment after its end. */
const REMOVAL_LIMIT_MS = 2_000;

export interface GroupLimits {
  memoryBytes: number | null;
  processes: number | null;
}

/** How often a group has reached its limits, ever. */
export interface GroupEvents {
  memory: number;
  processes: number;
}

/** A cgroup v2 for each hosted command. Source for all file names: docs.kernel.org/admin-guide/cgroup-v2.html */
export class Cgroups implements ProcessGroups {
  readonly #root: string;
  readonly #limits: GroupLimits;
  /** Which limits the kernel keeps here; without one it only holds processes together. */
  readonly keeps: { memory: boolean; processes: boolean };

  private constructor(root: string, limits: GroupLimits, controllers: readonly string[]) {
    this.#root = root;
    this.#limits = limits;
    this.keeps = { memory: controllers.includes("memory"), processes: controllers.includes("pids") };
  }

  /** Proves what this host offers by doing it. The string says why it offers nothing. */
  static async open(workspaceRoot: string, limits: GroupLimits): Promise<Cgroups | string> {
    const own = await ownDirectory();
    if (own === null) return "this host has no cgroup v2";
    const name = createHash("sha256").update(workspaceRoot).digest("hex").slice(0, 12);
    const root = join(own, `signalbox-${name}`);
    try {
      await mkdir(root).catch((error: unknown) => {
        if (!isSystemError(error, "EEXIST")) throw error;
      });
      const controllers = await enable(own, root);
      const cgroups = new Cgroups(root, limits, controllers);
      await cgroups.#prove();
      return cgroups;
    } catch (error) {
      await rmdir(root).catch(() => undefined); // another runner's groups are in it, or it was never made
      const why = isSystemError(error, "EROFS", "EACCES", "EPERM", "ENOENT")
        ? "isn't writable"
        : String(error);
      return `the cgroup ${own} ${why}`;
    }
  }

  async make(marker: string): Promise<Cgroup> {
    const group = new Cgroup(join(this.#root, marker));
    await mkdir(group.path);
    const { memoryBytes, processes } = this.#limits;
    if (this.keeps.memory && memoryBytes !== null) {
      await group.set("memory.max", memoryBytes);
      // A part of an app is rarely of use: all of it ends, and starts again.
      await group.set("memory.oom.group", 1);
      await group.set("memory.swap.max", 0).catch(() => undefined); // a kernel that doesn't count swap
    }
    if (this.keeps.processes && processes !== null) await group.set("pids.max", processes);
    return group;
  }

  open(path: string): Cgroup | null {
    // Only what this class has made.
    return dirname(path).endsWith(relative(dirname(this.#root), this.#root)) ? new Cgroup(path) : null;
  }

  /** When no group is left. */
  async close(): Promise<void> {
    await rmdir(this.#root).catch(() => undefined); // what is left in it is the next runner's
  }

  async #prove(): Promise<void> {
    const name = `probe-${process.pid}`;
    const group = await this.make(name);
    try {
      const cat = { file: "/bin/cat", args: ["/proc/self/cgroup"], cwd: "/", env: {} };
      const { file, args } = entering(cat, name, null, 0);
      const child = spawn(file, args, { stdio: ["ignore", "pipe", "ignore"] });
      if (child.pid !== undefined) group.admit(child.pid);
      let output = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
      await once(child, "close");
      if (!output.includes(`/${name}`)) throw new Error("can't be entered");
    } finally {
      await group.remove();
    }
  }
}

export class Cgroup implements ProcessGroup {
  readonly path: string;
  /** What is read of it before it goes. */
  #last: GroupEvents | null = null;

  constructor(path: string) {
    this.path = path;
  }

  /** The runner does it: a guest of another user may not. */
  admit(pid: number): void {
    try {
      writeFileSync(join(this.path, "cgroup.procs"), String(pid));
    } catch (error) {
      // It has ended already.
      if (!isSystemError(error, "ESRCH")) throw error;
    }
  }

  /** Also those of the groups that it has made inside: a container engine, say. */
  async members(): Promise<number[]> {
    const own = await readFile(join(this.path, "cgroup.procs"), "utf8").catch(() => ""); // removed
    const inner = await Promise.all((await this.#inner()).map((group) => group.members()));
    return [...own.split("\n").filter(Boolean).map(Number), ...inner.flat()];
  }

  /** Since Linux 5.14. */
  async kill(): Promise<boolean> {
    return this.set("cgroup.kill", 1).then(
      () => true,
      () => false,
    );
  }

  async remove(): Promise<void> {
    this.#last = await this.events();
    const deadline = performance.now() + REMOVAL_LIMIT_MS;
    for (;;) {
      try {
        for (const inner of await this.#inner()) await inner.remove();
        await rmdir(this.path);
        return;
      } catch (error) {
        if (isSystemError(error, "ENOENT")) return;
        // An empty directory of the kernel's; the next runner's start removes it.
        if (!isSystemError(error, "EBUSY") || performance.now() > deadline) return;
      }
      await sleep(20);
    }
  }

  async events(): Promise<GroupEvents> {
    if (this.#last !== null) return this.#last;
    return {
      memory: await this.#count("memory.events", "oom_kill"),
      processes: await this.#count("pids.events", "max"),
    };
  }

  /** Null where the kernel doesn't count it. */
  async memoryBytes(): Promise<number | null> {
    const text = await readFile(join(this.path, "memory.current"), "utf8").catch(() => null);
    return text === null ? null : Number(text);
  }

  async set(file: string, value: number): Promise<void> {
    await writeFile(join(this.path, file), String(value));
  }

  async #count(file: string, name: string): Promise<number> {
    const text = await readFile(join(this.path, file), "utf8").catch(() => "");
    return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  }

  async #inner(): Promise<Cgroup[]> {
    const entries = await readdir(this.path, { withFileTypes: true }).catch(() => []);
    return entries.flatMap((entry) => (entry.isDirectory() ? [new Cgroup(join(this.path, entry.name))] : []));
  }
}

/** The runner's own cgroup, as a directory; null without cgroup v2, or where it is outside of what is mounted. */
async function ownDirectory(): Promise<string | null> {
  const mounts = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
  const own = await readFile("/proc/self/cgroup", "utf8").catch(() => "");
  // "36 35 0:31 ROOT MOUNT_POINT OPTIONS - cgroup2 …"; source: proc_pid_mountinfo(5)
  const mount = mounts.split("\n").find((line) => line.includes(" - cgroup2 "));
  const [, , , mountRoot = "", mountPoint = ""] = mount?.split(" ") ?? [];
  const path = /^0::(.*)$/m.exec(own)?.[1];
  if (mountPoint === "" || path === undefined) return null;
  const inside = relative(mountRoot, path);
  // A runner that was started inside of its leaf by an earlier one's environment stays beside it.
  const directory = inside === "" ? mountPoint : join(mountPoint, inside);
  if (inside.startsWith("..")) return null;
  return directory.endsWith(`/${OWN_LEAF}`) ? dirname(directory) : directory;
}

/** Passes the controllers on to the groups; returns those that they have. */
async function enable(own: string, root: string): Promise<string[]> {
  const offered = (await readFile(join(own, "cgroup.controllers"), "utf8")).trim().split(" ");
  const enabled: string[] = [];
  for (const controller of ["memory", "pids"].filter((name) => offered.includes(name))) {
    try {
      await passOn(own, controller);
      await writeFile(join(root, "cgroup.subtree_control"), `+${controller}`);
      enabled.push(controller);
    } catch {
      // Others are in the runner's cgroup, or it wasn't delegated: the status says that this limit isn't kept.
    }
  }
  return enabled;
}

async function passOn(own: string, controller: string): Promise<void> {
  const file = join(own, "cgroup.subtree_control");
  try {
    await writeFile(file, `+${controller}`);
  } catch (error) {
    if (!isSystemError(error, "EBUSY")) throw error;
    const inside = (await readFile(join(own, "cgroup.procs"), "utf8")).trim().split("\n").map(Number);
    // Others' processes aren't moved.
    if (inside.some((pid) => pid !== process.pid)) throw error;
    const leaf = join(own, OWN_LEAF);
    await mkdir(leaf, { recursive: true });
    await writeFile(join(leaf, "cgroup.procs"), String(process.pid));
    await writeFile(file, `+${controller}`);
  }
}
