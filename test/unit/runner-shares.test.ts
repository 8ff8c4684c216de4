import { describe, expect, test } from "vitest";
import { Problem } from "../../functions/errors.ts";
import { shareLimits, Shares, type Holder } from "../../functions/runners/shares.ts";

/** Streams of a runner that takes 100, on a clock of their own. */
class World {
  now = 0;
  readonly shares = new Shares(shareLimits(100, 30), "requests", () => this.now);
  readonly ended: string[] = [];

  /** Whether it was let in, or the code of the refusal. */
  open(app: string, visitor: string | null = null, name = app): string {
    try {
      this.shares.makeRoom(app, visitor);
    } catch (error) {
      if (error instanceof Problem) return error.code;
      throw error;
    }
    const holder: Holder = {
      app,
      visitor,
      movedAt: this.now,
      idleAfterMs: 1_000,
      giveWay: () => {
        this.ended.push(name);
        this.shares.remove(holder);
      },
    };
    this.shares.add(holder);
    return "open";
  }

  openMany(count: number, app: string, visitor: (n: number) => string | null = () => null): void {
    for (let n = 0; n < count; n += 1) expect(this.open(app, visitor(n), `${app} ${n}`)).toBe("open");
  }
}

describe("shares", () => {
  test("leave a quarter to others, whatever one app opens", () => {
    const world = new World();
    world.openMany(75, "large");
    expect(world.open("large")).toBe("app_share_used_up");
    world.openMany(25, "small");
    expect(world.ended).toEqual([]);
  });

  test("give each app an equal part when there is no room, and no more", () => {
    const world = new World();
    world.openMany(75, "large");
    world.openMany(50, "small");
    expect(world.ended).toEqual(Array.from({ length: 25 }, (_, n) => `large ${n}`));
    expect(world.open("small")).toBe("runner_overloaded");
    world.openMany(33, "third");
    expect(world.shares.count).toBe(100);
  });

  test("end the oldest idle stream of the visitor who has most, in the app that has most", () => {
    const world = new World();
    world.openMany(20, "large", () => "one");
    world.openMany(30, "large", () => "other");
    world.openMany(25, "large", (n) => `visitor ${n}`);
    world.openMany(25, "small");
    world.now = 2_000;
    world.ended.length = 0;
    expect(world.open("large", "new")).toBe("open");
    expect(world.ended).toEqual(["large 0"]);
    expect(world.open("large", "one")).toBe("open");
    // The other one has 29 left, the first of which were opened first.
    expect(world.ended).toEqual(["large 0", "large 1"]);
    expect(world.open("large", "other")).toBe("open");
    expect(world.shares.count).toBe(100);
  });

  test("refuse a visitor beyond its own, whichever apps it asks, until it ends one", () => {
    const world = new World();
    world.openMany(15, "a", () => "one");
    world.openMany(15, "b", () => "one");
    expect(world.open("c", "one")).toBe("visitor_share_used_up");
    expect(world.open("c", "other")).toBe("open");
  });
});
