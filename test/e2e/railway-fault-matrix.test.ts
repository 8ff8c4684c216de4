import { expect, test, type TestContext } from "vitest";
import type { Fault } from "../../scripts/railway-stand-in/faults.ts";
import { seededRandom } from "../helpers/random.ts";
import {
  APP,
  HOST,
  startRailwayShop,
  UPLOAD,
  Visitors,
  type RailwayShop,
  type Settled,
  type Target,
} from "../helpers/railway-shop.ts";
import { until } from "../helpers/stack.ts";

/**
 * Every call that a rollout makes of Railway goes wrong in every way, one at a time and at random. However it goes:
 * the deployment ends active, or failed with its reason and its service gone; what others have in the project stays as
 * it is; and the active deployment answers all along.
 */

const soak = process.env["SIGNALBOX_SOAK"] === "1";
/** Cells wait more than they work. */
const LANES = 6;

type Journey = "image" | "upload" | "repo" | "redeploy" | "remove";

const IMAGE: Target = { image: "shop:1" };
const TARGETS: Record<Journey, Target> = {
  image: IMAGE,
  upload: UPLOAD,
  repo: { repo: { repo: "acme/shop", branch: "main" } },
  redeploy: IMAGE,
  remove: IMAGE,
};

/** The calls of each journey that the ones before it don't make. */
const CALLS: Record<Journey, string[]> = {
  image: [
    "projectServices",
    "serviceVariables",
    "serviceCreate",
    "environmentPatchCommit",
    "serviceInstanceUpdate",
    "serviceDomainCreate",
    "serviceInstanceDeployV2",
    "buildProgress",
    "buildLogs",
  ],
  upload: ["up", "latestDeployment"],
  repo: ["serviceConnect", "serviceInstanceAutoDeployUpdate"],
  redeploy: ["serviceState", "deploymentRedeploy"],
  remove: ["projectServices", "serviceVariables", "serviceDelete"],
};

const FAULTS: Record<Fault["kind"], Fault> = {
  "500": { kind: "500" },
  "429": { kind: "429", retryAfterSeconds: 1 },
  // Longer than the client waits for a change, where there is time for that.
  slow: { kind: "slow", ms: soak ? 25_000 : 1_500 },
  lost: { kind: "lost" },
  late: { kind: "late", ms: 2_500 },
  error: { kind: "error" },
};
const KINDS = Object.keys(FAULTS) as Fault["kind"][];

interface Cell {
  journey: Journey;
  call: string;
  kind: Fault["kind"];
  /** Queries are repeated at once: only several faults in a row are felt. */
  count: number;
}

const cells: Cell[] = Object.entries(CALLS).flatMap(([journey, calls]) =>
  calls.flatMap((call) =>
    KINDS.flatMap((kind) => [1, 4].map((count) => ({ journey: journey as Journey, call, kind, count }))),
  ),
);

/** Without the soak each call goes wrong in one way, another for each, so that every way is met. */
const ROTATION = ["lost", "500", "error", "429", "slow", "late"] as const;
const chosen: Cell[] = soak
  ? cells
  : [
      ...cells
        .filter(({ kind, count }) => kind === "500" && count === 1)
        .map(({ journey, call }, index) => ({
          journey,
          call,
          kind: ROTATION[index % ROTATION.length] ?? "lost",
          count: index % 2 === 0 ? 4 : 1,
        })),
      // What could make two services of one.
      { journey: "image", call: "serviceCreate", kind: "lost", count: 1 },
      { journey: "image", call: "serviceCreate", kind: "late", count: 1 },
    ];

async function world({ onTestFinished }: TestContext): Promise<RailwayShop> {
  const started = await startRailwayShop();
  onTestFinished(() => started.stop());
  expect(await started.deploy("base", IMAGE)).toEqual({ refused: false });
  expect(await started.settled("base")).toEqual({ state: "active", reason: "" });
  return started;
}

/** One deployment with something going wrong on the way; answers what became of it. */
class Lane {
  readonly #world: RailwayShop;
  readonly #others: unknown;
  #active = "base";

  constructor(started: RailwayShop) {
    this.#world = started;
    this.#others = started.others();
  }

  async run(id: string, journey: Journey, arm: () => void): Promise<string> {
    const { railway, stack } = this.#world;
    const visitors = new Visitors(this.#world);
    const before = this.#active;
    let result: string;
    try {
      if (journey === "redeploy") {
        await this.#isSettled();
        arm();
        expect((await stack.api("POST", `/apps/${APP}/deployments/${before}/redeploy`)).status).toBeLessThan(
          300,
        );
        await until(
          async () => (await stack.api("GET", `/apps/${APP}/deployments/${before}`)).body,
          (body) => body["redeploying"] === false,
          180_000,
        );
        result = "redeployed";
      } else {
        if (journey !== "remove") arm();
        result = await this.#deploy(id, TARGETS[journey]);
        if (journey === "remove") arm();
      }
      if (this.#active !== before) {
        // Only once every visitor is led to the new one; the removal is part of some journeys, and cleans up after all.
        await this.#world.remove(before);
      }
      // What cleans up after a failure meets what still goes wrong.
      if (result.startsWith("failed")) await this.#holdsOnlyTheActive();
      railway.faults.clear();
      await this.#check();
    } finally {
      await visitors.leave();
    }
    expect(visitors.bad).toEqual([]);
    return result;
  }

  async #deploy(id: string, target: Target): Promise<string> {
    const begun = await this.#world.deploy(id, target);
    if (begun.refused) {
      expect([begun.status, begun.code]).toEqual([503, "railway_unavailable"]);
      return "refused";
    }
    const { state, reason } = await this.#world.settled(id);
    if (state === "active") this.#active = id;
    else expect(reason).not.toBe("");
    return state === "active" ? state : `failed: ${reason}`;
  }

  /** What an earlier redeploy began is older than any two clocks differ, and so isn't taken for this one's. */
  async #isSettled(): Promise<void> {
    await until(
      () => this.#world.railway.state.deployments(`${APP}-${this.#active}`)[0],
      (latest) => latest?.status === "SUCCESS" && Date.now() - latest.createdAt.getTime() > 3_000,
    );
  }

  async #holdsOnlyTheActive(): Promise<void> {
    await until(
      () => this.#world.ours(),
      (names) => names.length === 1 && names[0] === `${APP}-${this.#active}`,
      90_000,
    );
  }

  /** What is there is the active deployment's service, and what others have. */
  async #check(): Promise<void> {
    await until(
      () => this.#world.railway.faults.late,
      (late) => late === 0,
    );
    await this.#holdsOnlyTheActive();
    expect(this.#world.others()).toEqual(this.#others);
    const answer = await this.#world.stack.request(HOST, "/");
    expect(answer).toMatchObject({
      status: 200,
      text: expect.stringMatching(new RegExp(`^\\w* ${this.#active}$`)) as string,
    });
    await until(
      () => this.#world.railway.state.processes().map(({ service }) => service),
      (services) => services.every((service) => service !== undefined),
    );
  }
}

test.concurrent(
  `a call that goes wrong once or several times loses no deployment and leaves no service behind (${chosen.length} cells)`,
  { timeout: soak ? 3_600_000 : 240_000 },
  async (context) => {
    const queue = chosen.map((cell, index) => ({ cell, id: `c${index}` }));
    const outcomes: Record<string, string> = {};
    const failures: unknown[] = [];
    await Promise.all(
      Array.from({ length: LANES }, async () => {
        const started = await world(context);
        const lane = new Lane(started);
        for (let next = queue.shift(); next && failures.length === 0; next = queue.shift()) {
          const { id, cell } = next;
          const { journey, call, kind, count } = cell;
          const { faults } = started.railway;
          const name = `${journey}: ${call} ${kind} x${count}`;
          const beganAt = performance.now();
          try {
            faults.calls.length = 0;
            const outcome = await lane.run(id, journey, () => faults.add(call, FAULTS[kind], { count }));
            outcomes[name] = `${outcome} (${((performance.now() - beganAt) / 1_000).toFixed(1)} s)`;
            const met = faults.calls.some(
              ({ operations, fault }) => operations.includes(call) && fault === kind,
            );
            expect(met, `${call} was called`).toBe(true);
          } catch (error) {
            failures.push(new Error(`${name}: ${String(error)}`, { cause: error }));
          }
        }
      }),
    );
    for (const failure of failures) throw failure;
    console.log(outcomes);
  },
);

test.concurrent(
  "calls that go wrong at random lose no deployment and leave no service behind",
  { timeout: 1_800_000 },
  async (context) => {
    const { random } = seededRandom();
    const started = await world(context);
    const lane = new Lane(started);
    const rounds = soak ? 12 : 1;
    for (let round = 0; round < rounds; round += 1) {
      const journey = (["image", "upload", "repo", "redeploy"] as const)[Math.floor(random() * 4)] ?? "image";
      const rate = random() * (soak ? 0.4 : 0.2);
      await lane.run(`r${round}`, journey, () => {
        started.railway.faults.chance = () => {
          if (random() > rate) return null;
          const fault = FAULTS[KINDS[Math.floor(random() * KINDS.length)] ?? "500"];
          // Timeouts in a row add up to minutes; the matrix has them one at a time.
          return fault.kind === "slow" ? { kind: "slow", ms: 1_500 } : fault;
        };
      });
    }
  },
);

/** What Railway refuses for good, and the journey that asks for it. */
const REFUSED: [Journey, string][] = [
  ["image", "serviceInstanceDeployV2"],
  ["repo", "serviceConnect"],
  ["image", "serviceCreate"],
  ["image", "serviceInstanceUpdate"],
  ["upload", "serviceDomainCreate"],
];

test.concurrent.for(soak ? REFUSED : REFUSED.slice(0, 2))(
  "a deployment (%s) whose %s is refused fails with Railway's words, and its service goes although that goes wrong too",
  async ([journey, call], context) => {
    const started = await world(context);
    const lane = new Lane(started);
    const { faults } = started.railway;
    const outcome = await lane.run("refused", journey, () => {
      faults.add(call, { kind: "error", message: "That isn't allowed" }, { count: 1_000 });
      faults.add("serviceDelete", { kind: "500" });
      faults.add("serviceDelete", { kind: "lost" });
    });
    expect(outcome).toMatch(new RegExp(`^failed: .*${call}.*That isn't allowed`));
    // Of a service that was never made there is nothing to delete.
    const met = faults.calls.filter(({ operations, fault }) => operations.includes("serviceDelete") && fault);
    expect(met).toHaveLength(call === "serviceCreate" ? 0 : 2);
  },
);

test.concurrent.for([
  ["the build fails", (world: RailwayShop, name: string) => world.railway.faults.failingBuilds.add(name)],
  [
    "it crashes again and again",
    (world: RailwayShop, name: string) => world.railway.faults.crashing.add(name),
  ],
] as const)(
  "when %s, the deployment fails with the reason and its last lines, and its service goes",
  async ([, arm], context) => {
    const started = await world(context);
    const others = started.others();
    arm(started, `${APP}-bad`);
    await started.deploy("bad", IMAGE);
    const { state, reason } = await started.settled("bad");
    expect(state).toBe("failed");
    expect(reason).toMatch(/made to (?:fail|crash)/);
    await until(
      () => started.ours(),
      (names) => names.length === 1,
    );
    expect(started.ours()).toEqual([`${APP}-base`]);
    expect(started.others()).toEqual(others);
    expect((await started.stack.request(HOST, "/")).text).toBe("one base");
  },
);

test.concurrent(
  "a source is refused as soon as the deployment that it is for has failed",
  async (context) => {
    const started = await world(context);
    started.railway.faults.add("serviceDomainCreate", { kind: "error", message: "No more domains" });
    const { state } = await Promise.race([
      // Waits for the service that never becomes ready.
      started.deploy("doomed", UPLOAD).then(() => started.settled("doomed")),
      new Promise<Settled>((resolve) => setTimeout(resolve, 60_000, { state: "still waiting", reason: "" })),
    ]);
    expect(state).toBe("failed");
  },
);
