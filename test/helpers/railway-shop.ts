import { putApp } from "./deploy.ts";
import { makeDomain } from "./railway-api.ts";
import { packFiles, START, startRailwayStack, type RailwayStack } from "./railway-stack.ts";
import { CONTROL_TOKEN, until } from "./stack.ts";

export const APP = "shop";
export const HOST = "shop.test";
const SETTLE_TIMEOUT_MS = 180_000;

export type Target =
  { image: string } | { upload: true; start: string } | { repo: { repo: string; branch?: string } };

/** One app on Railway, in a project where others have services too, some of them named or marked much like its own. */
export interface RailwayShop extends RailwayStack {
  /** Asks for a deployment; for an upload also sends the source, again and again until that is taken. */
  deploy(id: string, target: Target): Promise<Begun>;
  /** Waits until a deployment is active or failed. */
  settled(id: string): Promise<Settled>;
  /** Asks for the removal of a deployment and waits until it is gone. */
  remove(id: string): Promise<void>;
  /** Sorted names of the services that aren't somebody else's. */
  ours(): string[];
  /** Everything there is to know about the services that are. */
  others(): unknown;
}

export type Begun = { refused: false } | { refused: true; status: number; code: unknown };

export interface Settled {
  state: string;
  reason: string;
}

/** What is uploaded: it starts nothing of its own but what is there already. */
export const UPLOAD: Target = { upload: true, start: START };

export async function startRailwayShop(): Promise<RailwayShop> {
  const world = await startRailwayStack();
  const { railway, stack } = world;
  const { state } = railway;
  const envService = state.service("pulse-env");
  if (envService) envService.groupId = state.world.addGroup("Signalbox", railway.projectId).id;
  await makeDomain(railway, state.addService("theirs", { image: "shop:2" }).id);
  state.addService(`${APP}-backup`, { variables: { NOTE: "named like ours" } });
  const marks = { SIGNALBOX_OWNER: "0123456789abcdef", SIGNALBOX_APP: APP, SIGNALBOX_DEPLOYMENT_ID: "base" };
  state.addService("other-installation", { image: "shop:2", variables: marks });
  const foreign = state.serviceNames();
  const running = ["theirs", "other-installation"];
  await until(
    () => running.map((name) => state.deployments(name)[0]?.status),
    (statuses) => statuses.every((status) => status === "SUCCESS"),
  );
  await putApp(stack, APP, {
    contract: "pulse",
    hosts: [HOST],
    previousRetentionSeconds: 0,
    reloadGraceSeconds: 0,
  });

  const look = async (id: string): Promise<Settled> => {
    const { status, body } = await stack.api("GET", `/apps/${APP}/deployments/${id}`);
    if (status === 404) return { state: "removed", reason: "" };
    const failure = body["failure"];
    const hasReason = typeof failure === "object" && failure !== null && "reason" in failure;
    return { state: String(body["state"]), reason: hasReason ? String(failure.reason) : "" };
  };

  return {
    ...world,
    async deploy(id, target) {
      const body = { id, target: { kind: "railway", ...target } };
      const answer = await stack.api("POST", `/apps/${APP}/deployments`, body);
      if (answer.status !== 202) return { refused: true, status: answer.status, code: answer.body["code"] };
      if ("upload" in target) await sendSource(world, id);
      return { refused: false };
    },
    settled: (id) =>
      until(
        () => look(id),
        (seen) => seen.state === "active" || seen.state === "failed",
        SETTLE_TIMEOUT_MS,
      ),
    async remove(id) {
      const { status, body } = await stack.api("DELETE", `/apps/${APP}/deployments/${id}`);
      if (status >= 300) throw new Error(`DELETE ${id}: ${JSON.stringify(body)}`);
      await until(
        () => look(id),
        (seen) => seen.state === "removed",
        SETTLE_TIMEOUT_MS,
      );
    },
    ours: () => state.serviceNames().filter((name) => !foreign.includes(name)),
    others: () =>
      foreign.map((name) => ({
        ...state.service(name),
        ...state.instance(name),
        deployments: state.deployments(name).map(({ id, status }) => [id, status]),
        processes: state.processes().filter(({ service }) => service === name),
      })),
  };
}

/** Repeats until the Worker takes it or says that it never will, as a client has to. */
async function sendSource({ stack }: RailwayStack, id: string): Promise<void> {
  const source = `${stack.origin}/_signalbox/api/v1/apps/${APP}/deployments/${id}/source`;
  const body = await packFiles({ "readme.txt": id });
  await until(
    async () => {
      const headers = { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": "application/gzip" };
      const response = await fetch(source, { method: "PUT", headers, body });
      const text = await response.text();
      return { status: response.status, text, deployment: await stack.control.deployment(APP, id) };
    },
    ({ status, deployment }) => status === 200 || deployment?.state !== "pending",
    SETTLE_TIMEOUT_MS,
  );
}

/** Asks again and again for the app, and notes every answer that isn't a good one. */
export class Visitors {
  readonly bad: string[] = [];
  readonly #leaving = new AbortController();
  readonly #visits: Promise<void>;

  constructor(shop: RailwayShop) {
    this.#visits = this.#visit(shop);
  }

  async leave(): Promise<void> {
    this.#leaving.abort();
    await this.#visits;
  }

  async #visit({ stack }: RailwayShop): Promise<void> {
    while (!this.#leaving.signal.aborted) {
      const { status, text } = await stack
        .request(HOST, "/")
        .catch((error: unknown) => ({ status: 0, text: String(error) }));
      if (status !== 200) this.bad.push(`${status} ${text.slice(0, 200)}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
