import { afterAll, expect, test } from "vitest";
import {
  ACQUIRE_LEASE,
  COMMIT,
  READ_APP,
  RELEASE_LEASE,
  RESOLVE,
  WRITE_RECORD,
} from "../../functions/state/upstash-scripts.ts";
import { onEmbedded, onUpstash, type OpenStack, type UpstashStack } from "../helpers/both-stores.ts";
import type { Backend } from "../helpers/backend.ts";
import { seededRandom } from "../helpers/random.ts";
import { liveThrough, type Disturbance, type Part } from "../helpers/rollout-life.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";
const settings = { ROUTE_TTL_MS: "100" };
/** Stacks that are killed side by side; a life is mostly waiting. */
const LANES = 5;
/** Without soak, every so many steps; the offset rotates, so that runs together see them all. */
const STRIDE = soak ? 1 : 6;

const worlds: OpenStack[] = [];

afterAll(async () => {
  await Promise.all(worlds.map((world) => world.stop()));
});

/** Kills the stack at step `at`: each store command and contract call is one before it runs and one after. */
class KillAtStep implements Disturbance {
  killed = false;
  steps = 0;
  where = "nowhere";
  #part: Part = "app";
  readonly #world: UpstashStack;
  readonly #at: number;
  #restarted: Promise<void> = Promise.resolve();

  constructor(world: UpstashStack, at: number) {
    this.#world = world;
    this.#at = at;
  }

  onPart(part: Part): void {
    this.#part = part;
  }

  onBackends(backends: Backend[]): void {
    for (const backend of backends) {
      backend.handler = ({ url = "" }) => {
        if (!url.startsWith("/_pulse/")) return false;
        const dies = this.#isNow(`before ${url}`);
        const diesAfter = !dies && url.endsWith("/reload") && this.#isNow(`after ${url}`);
        if (diesAfter) backend.reloads += 1;
        if (dies || diesAfter) void this.#kill();
        return dies || diesAfter;
      };
    }
  }

  /** Hangs itself into the store; call what is returned when the life is over. */
  install(): () => Promise<void> {
    const unhook = this.#world.front.onCommand(async (command, phase) => {
      if (command[1] === RESOLVE) return; // a visitor's, at any time
      if (!this.#isNow(`${phase} ${nameOf(command)}`)) return;
      await this.#kill();
      throw new Error("killed");
    });
    return async () => {
      unhook();
      await this.#restarted;
    };
  }

  #isNow(where: string): boolean {
    this.steps += 1;
    if (this.steps !== this.#at) return false;
    this.where = `${where} in part ${this.#part}`;
    return true;
  }

  async #kill(): Promise<void> {
    await this.#world.stack.kill();
    this.killed = true;
    this.#restarted = this.#world.stack.restart().then(() => this.#forgetLease());
  }

  /** A killed janitor's lease runs out in half a minute; here at once. */
  async #forgetLease(): Promise<void> {
    const headers = { authorization: `Bearer ${this.#world.front.token}` };
    const body = JSON.stringify(["DEL", "signalbox:lease:janitor"]);
    await fetch(this.#world.front.url, { method: "POST", headers, body });
  }
}

const SCRIPTS = new Map([
  [READ_APP, "readApp"],
  [COMMIT, "commit"],
  [ACQUIRE_LEASE, "acquireLease"],
  [RELEASE_LEASE, "releaseLease"],
  [WRITE_RECORD, "writeRecord"],
]);

function nameOf(command: string[]): string {
  return SCRIPTS.get(command[1] ?? "") ?? command[0] ?? "";
}

test.concurrent(
  "killed between any two steps of a rollout, it is taken up again and nothing is lost or done twice",
  async () => {
    const given = process.env["SIGNALBOX_KILL_OFFSET"];
    const offset = given === undefined ? Math.floor(Math.random() * STRIDE) : Number(given);
    let next = 1 + offset;
    let last = Infinity;
    const kills: string[] = [];
    const lane = async (): Promise<void> => {
      const world = await onUpstash(settings);
      worlds.push(world);
      for (let at = next; at <= last; at = next) {
        next += STRIDE;
        const killer = new KillAtStep(world, at);
        const uninstall = killer.install();
        try {
          await liveThrough(world, `step-${at}`, killer);
        } catch (error) {
          throw new Error(`Killed at step ${at}, ${killer.where} (SIGNALBOX_KILL_OFFSET=${offset})`, {
            cause: error,
          });
        } finally {
          await uninstall();
        }
        if (killer.killed) kills.push(`${at} ${killer.where}`);
        else last = Math.min(last, at);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    console.log(
      `killed ${kills.length} times, every ${STRIDE} steps from ${offset + 1}:\n${kills.join("\n")}`,
    );
    expect(kills.length * STRIDE).toBeGreaterThan(60);
  },
);

/** Kills the stack a random while after a random part of a life has begun. */
class KillSometime implements Disturbance {
  killed = false;
  restarted: Promise<void> = Promise.resolve();
  readonly #world: OpenStack;
  readonly #part: Part;
  readonly #afterMs: number;

  constructor(world: OpenStack, part: Part, afterMs: number) {
    this.#world = world;
    this.#part = part;
    this.#afterMs = afterMs;
  }

  onBackends(): void {}

  onPart(part: Part): void {
    if (part !== this.#part) return;
    this.restarted = this.#killLater();
  }

  async #killLater(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, this.#afterMs));
    await this.#world.stack.kill();
    this.killed = true;
    await this.#world.stack.restart();
  }
}

test.concurrent("the embedded store survives being killed at any time together with its Worker", async () => {
  const { seed, random } = seededRandom();
  const parts: Part[] = ["app", "v1", "v2", "janitor", "removal"];
  const plans = Array.from({ length: soak ? 60 : 6 }, (_, index) => ({
    part: parts[index % parts.length] ?? "app",
    // Each part works for about 100 ms; a removal then sleeps until tables are old.
    afterMs: Math.floor(random() * (index % parts.length === 4 ? 5_000 : 120)),
  }));
  let next = 0;
  const lane = async (): Promise<void> => {
    const world = await onEmbedded(settings);
    worlds.push(world);
    for (let index = next++; index < plans.length; index = next++) {
      const plan = plans[index];
      if (!plan) return;
      const killer = new KillSometime(world, plan.part, plan.afterMs);
      try {
        await liveThrough(world, `sometime-${index}`, killer);
      } catch (error) {
        throw new Error(`Killed ${plan.afterMs} ms into part ${plan.part} (seed ${seed})`, { cause: error });
      } finally {
        await killer.restarted;
      }
    }
  };
  await Promise.all(Array.from({ length: 3 }, lane));
});
