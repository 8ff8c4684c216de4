import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokens } from "./access.ts";
import type { Runnable } from "./build.ts";
import { Faults } from "./faults.ts";
import { Railway } from "./railway.ts";
import { Rollouts, type Pace } from "./rollouts.ts";
import { createApi } from "./server.ts";
import { StandInState } from "./state.ts";
import { World } from "./world.ts";

export interface StandInOptions {
  port?: number;
  /** What runs for an image's name. */
  images?: Record<string, Runnable>;
  /** What runs for a repository's `owner/name`. */
  repos?: Record<string, Runnable>;
  pace?: Partial<Pace>;
  /** Name of the project that exists from the start; its environment is `production`. */
  project?: string;
  workspace?: string;
  /** Given to keep a token over restarts; new ones are made otherwise. */
  accountToken?: string;
  projectToken?: string;
}

export interface RailwayStandIn {
  /** What `RAILWAY_API_URL` gets. */
  url: string;
  accountToken: string;
  /** Good for everything in the first workspace, but not for `me`. */
  workspaceToken: string;
  /** Of the first project and its environment. */
  projectToken: string;
  workspaceId: string;
  projectId: string;
  environmentId: string;
  state: StandInState;
  faults: Faults;
  /** A token for another project's environment. */
  tokenFor(projectId: string, environmentId: string): string;
  /** Ends every service and closes every socket. */
  stop(): Promise<void>;
}

const PACE: Pace = { stepMs: 20, secondMs: 1_000, coldStart502: true };

/**
 * Railway's API on this machine, for tests and the demo: its GraphQL, its upload address, and services that really run
 * as local processes with public addresses. Nothing is kept: it begins anew each time.
 */
export async function startRailwayStandIn(options: StandInOptions = {}): Promise<RailwayStandIn> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-railway-"));
  await mkdir(join(directory, "uploads"));
  const world = new World();
  const faults = new Faults();
  const sources = { images: options.images ?? {}, repos: options.repos ?? {}, directory };
  const rollouts = new Rollouts(world, faults, sources, { ...PACE, ...options.pace });
  const railway = new Railway(world, rollouts);
  const workspace = world.addWorkspace(options.workspace ?? "Acme");
  const project = world.addProject(options.project ?? "signalbox", workspace.id);
  const environmentId = world.environments[0]?.id ?? "";

  const tokens = new Tokens();
  const accountToken = tokens.add(options.accountToken ?? newToken(), { kind: "account" });
  const workspaceToken = tokens.add(newToken(), { kind: "workspace", workspaceId: workspace.id });
  const tokenFor = (projectId: string, environmentId: string, text = newToken()): string =>
    tokens.add(text, { kind: "project", name: "deploys", projectId, environmentId });

  const server = createApi(railway, tokens, faults, join(directory, "uploads"), () => url);
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    url,
    accountToken,
    workspaceToken,
    projectToken: tokenFor(project.id, environmentId, options.projectToken),
    workspaceId: workspace.id,
    projectId: project.id,
    environmentId,
    state: new StandInState(railway, project.id, environmentId),
    faults,
    tokenFor: (projectId, environmentId) => tokenFor(projectId, environmentId),
    async stop() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
      await railway.stop();
      // A process that was killed may be writing its last line.
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function newToken(): string {
  return randomBytes(16).toString("hex");
}
