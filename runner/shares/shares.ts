import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Fields } from "../../functions/protocol/control.ts";
import { noProcessGroups, type ProcessGroups } from "../processes/process-group.ts";
import type { Disk } from "../workspaces/disk.ts";
import { Ballast } from "./ballast.ts";
import type { Cgroups } from "./cgroups.ts";
import { DiskWatch } from "./disk-watch.ts";
import type { Guest } from "./guest.ts";
import type { GuestLimits } from "./guest-limits.ts";
import { ProcessWatch } from "./process-watch.ts";

/** Hours of a local Worker's writes. */
const BALLAST_BYTES = 64 * 1024 * 1024;
/** How often a stopped deployment looks whether there is room again; measuring a large tree takes seconds. */
const ROOM_LOOK_MS = 2_000;
const ROOM_REST_FACTOR = 20;

/** What each hosted deployment may take of this host, and who holds it to that: the kernel, or else the runner. */
export class Shares {
  readonly limits: GuestLimits;
  readonly groups: ProcessGroups;
  readonly #cgroups: Cgroups | string;
  readonly #disk: DiskWatch;
  readonly #processes: ProcessWatch;

  private constructor(limits: GuestLimits, cgroups: Cgroups | string, disk: Disk, ballast: Ballast) {
    this.limits = limits;
    this.groups = typeof cgroups === "string" ? noProcessGroups : cgroups;
    this.#cgroups = cgroups;
    this.#disk = new DiskWatch(disk, limits, ballast);
    const keeps = typeof cgroups === "string" ? { memory: false, processes: false } : cgroups.keeps;
    this.#processes = new ProcessWatch(limits, keeps);
  }

  /** `directory` is the runner's own. */
  static async open(
    directory: string,
    limits: GuestLimits,
    cgroups: Cgroups | string,
    disk: Disk,
  ): Promise<Shares> {
    const size = Math.min(BALLAST_BYTES, Math.floor(disk.reserveBytes));
    return new Shares(limits, cgroups, disk, await Ballast.open(join(directory, "ballast"), size));
  }

  /** Watches a guest until the returned function is called. */
  add(guest: Guest): () => void {
    const leave = [this.#disk.add(guest), this.#processes.add(guest)];
    return () => leave.forEach((one) => one());
  }

  /** Resolves when a deployment with these directories may start again, for all that the disk says. */
  async untilRoom(directories: readonly string[], signal: AbortSignal): Promise<void> {
    for (;;) {
      const begun = performance.now();
      if ((await this.#disk.whyNot(directories)) === null) return;
      const restMs = Math.max(ROOM_LOOK_MS, ROOM_REST_FACTOR * (performance.now() - begun));
      await sleep(restMs, undefined, { signal });
    }
  }

  /**
   * What the user of the next guest may have, where the kernel counts no group: so many more than are on the machine now.
   * It doesn't count for root.
   */
  async userProcesses(): Promise<number | null> {
    const { processes } = this.limits;
    if (processes === null || (typeof this.#cgroups !== "string" && this.#cgroups.keeps.processes))
      return null;
    const total = /\/(\d+) /.exec(await readFile("/proc/loadavg", "utf8").catch(() => ""))?.[1];
    return total === undefined ? null : Number(total) + processes;
  }

  /** For `/health` and the runner's status. */
  status(): Fields {
    const { diskBytes, diskInodes, logBytes, memoryBytes, processes } = this.limits;
    const keeper = (isKept: boolean, what: string): string => {
      if (isKept) return "kernel";
      const why =
        typeof this.#cgroups === "string" ? this.#cgroups : `its cgroup has no controller of ${what}`;
      return `no limit of ${what} by the kernel on this host: ${why}. The runner looks twice a second and ends who takes more`;
    };
    const keeps = typeof this.#cgroups === "string" ? null : this.#cgroups.keeps;
    return {
      diskBytes,
      diskInodes,
      logBytes,
      memoryBytes,
      processes,
      memoryKeptBy: keeper(keeps?.memory ?? false, "memory"),
      processesKeptBy: keeper(keeps?.processes ?? false, "processes"),
      processesFoundBy: keeps === null ? "what they inherit and hold" : "cgroup",
    };
  }

  async close(): Promise<void> {
    this.#disk.close();
    this.#processes.close();
    if (typeof this.#cgroups !== "string") await this.#cgroups.close();
  }
}
