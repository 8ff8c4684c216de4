/** How a call can go wrong. */
export type Fault =
  | { kind: "500" }
  | { kind: "429"; retryAfterSeconds?: number }
  /** Carried out late and answered then, should anybody still be there. */
  | { kind: "slow"; ms: number }
  | { kind: "slow"; until: Promise<unknown> }
  /** The work is done and the connection destroyed before the answer. */
  | { kind: "lost" }
  /** The connection is destroyed at once, and the work done only then. */
  | { kind: "late"; ms: number }
  /** A GraphQL error, and nothing done. */
  | { kind: "error"; message?: string };

export interface Call {
  /** The operation's name and its root fields, such as `serviceCreate`; `up` for an upload. */
  operations: string[];
  atMs: number;
  fault: Fault["kind"] | null;
}

interface Planned {
  operation: string;
  fault: Fault;
  after: number;
  count: number;
}

/** Which calls go wrong, which builds fail and which services crash; also counts the calls. */
export class Faults {
  readonly calls: Call[] = [];
  /** Names of services whose builds fail. */
  readonly failingBuilds = new Set<string>();
  /** Names of services whose process ends as soon as it was started. */
  readonly crashing = new Set<string>();
  /** Asked for every call that no planned fault meets: for faults at random. */
  chance: (operation: string) => Fault | null = () => null;
  /** How many calls whose answer was lost have yet to be carried out. */
  late = 0;
  readonly #planned: Planned[] = [];

  /** Makes the next `count` calls of an operation (`*`: of any) go wrong, the first `after` of them not. */
  add(operation: string, fault: Fault, { count = 1, after = 0 } = {}): void {
    this.#planned.push({ operation, fault, after, count });
  }

  clear(): void {
    this.#planned.length = 0;
    this.failingBuilds.clear();
    this.crashing.clear();
    this.chance = () => null;
  }

  /** How many planned faults haven't happened yet. */
  get pending(): number {
    return this.#planned.reduce((sum, { count }) => sum + count, 0);
  }

  count(operation: string): number {
    return this.calls.filter(({ operations }) => operations.includes(operation)).length;
  }

  /** Notes a call and says how it goes wrong. */
  take(operations: string[]): Fault | null {
    const fault = this.#next(operations);
    this.calls.push({ operations, atMs: Date.now(), fault: fault?.kind ?? null });
    return fault;
  }

  #next(operations: string[]): Fault | null {
    for (const planned of this.#planned) {
      if (planned.operation !== "*" && !operations.includes(planned.operation)) continue;
      if (planned.after > 0) {
        planned.after -= 1;
        continue;
      }
      if (planned.count === 0) continue;
      planned.count -= 1;
      return planned.fault;
    }
    for (const operation of operations) {
      const fault = this.chance(operation);
      if (fault !== null) return fault;
    }
    return null;
  }
}
