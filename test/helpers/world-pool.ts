import type { TestContext } from "vitest";
import type { RailwayStack } from "./railway-stack.ts";

/** Worlds that the tests of a file, which run side by side, have one at a time each. */
export class WorldPool {
  readonly #count: number;
  readonly #start: () => Promise<RailwayStack>;
  readonly #free: RailwayStack[] = [];
  readonly #waiting: ((world: RailwayStack) => void)[] = [];

  constructor(count: number, start: () => Promise<RailwayStack>) {
    this.#count = count;
    this.#start = start;
  }

  async open(): Promise<void> {
    await Promise.all(
      Array.from({ length: this.#count }, async () => {
        this.#free.push(await this.#start());
      }),
    );
  }

  /** A world for the time of a test; `leave`: what is done before somebody else has it. */
  async borrow(
    { onTestFinished }: TestContext,
    leave: (world: RailwayStack) => Promise<void> = async () => undefined,
  ): Promise<RailwayStack> {
    const world =
      this.#free.pop() ?? (await new Promise<RailwayStack>((resolve) => this.#waiting.push(resolve)));
    onTestFinished(async () => {
      world.railway.faults.clear();
      try {
        await leave(world);
      } finally {
        const next = this.#waiting.shift();
        if (next) next(world);
        else this.#free.push(world);
      }
    });
    return world;
  }

  async close(): Promise<void> {
    await Promise.all(this.#free.map((world) => world.stop()));
  }
}
