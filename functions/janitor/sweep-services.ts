import type { RailwaySettings } from "../config.ts";
import { z } from "zod";
import { parseAppDocument } from "../apps/app-document.ts";
import { RailwayAccess, type RailwayPlace } from "../providers/railway/access.ts";
import { ownerOf, readMark, type Identity, type ServiceMark } from "../providers/railway/service.ts";
import { unlessGone } from "../providers/railway/step.ts";
import { RailwayError } from "../railway/error.ts";
import { nodesOf, type Operation } from "../railway/operation.ts";
import {
  projectServices,
  serviceDelete,
  serviceVariables,
  type RailwayService,
} from "../railway/operations.ts";
import { readInstallationId } from "../state/installation-id.ts";
import type { StateStore } from "../state/store.ts";
import { orphanOf, type Known } from "./orphan.ts";
import type { Decision, Report } from "./report.ts";

/** Far longer than any step of a rollout takes, so that no service is judged while it is being created. */
const SAFE_AGE_MS = 10 * 60_000;
/** Services whose variables are read in one run, beside those that are deleted; the next run reads the others. */
const READS_LIMIT = 20;
const DELETIONS_LIMIT = 10;
const TIME_LIMIT_MS = 60_000;
/** After an app's deletion its audit grows only by the orphans that are deleted here. */
const AUDIT_LOOKED_AT = 100;

/** The marks of services that were read: a service gets its mark when it is created, and keeps it. */
const look = z.object({ app: z.string(), deployment: z.string(), created: z.string() });
type Look = z.infer<typeof look>;
const looks = z.record(z.string(), look.nullable());

interface Marked {
  service: RailwayService;
  mark: ServiceMark;
}

export interface ServiceSweepContext {
  store: StateStore;
  railway: RailwaySettings;
  internalToken: string;
  dryRun: boolean;
  now: () => number;
  /** False once another janitor is at work. */
  mayGoOn: () => boolean;
}

/** The sweep as the janitor calls it; null where there is no Railway. */
export function servicesSweep(
  { railway, internalToken }: { railway: RailwaySettings | null; internalToken: string },
  store: StateStore,
) {
  if (railway === null) return null;
  return (dryRun: boolean, mayGoOn: () => boolean): ReturnType<typeof sweepServices> =>
    sweepServices({ store, railway, internalToken, dryRun, now: Date.now, mayGoOn });
}

/**
 * Deletes orphans: services on Railway that bear our mark and belong to no deployment. One appears when the answer to
 * its creation is lost, the Worker dies, and Railway creates it after its deployment is over. A run costs one listing,
 * and one call for each service that it hasn't seen before.
 */
export async function sweepServices(
  context: ServiceSweepContext,
): Promise<Pick<Report, "decisions" | "errors">> {
  const swept = new ServiceSweep(context);
  try {
    await swept.run();
  } catch (error) {
    if (!(error instanceof RailwayError)) throw error;
    swept.errors.push({ app: "*", message: error.message });
  }
  return swept;
}

class ServiceSweep {
  readonly decisions: Decision[] = [];
  readonly errors: Report["errors"] = [];
  readonly #context: ServiceSweepContext;
  readonly #access: RailwayAccess;
  readonly #signal = AbortSignal.timeout(TIME_LIMIT_MS);

  constructor(context: ServiceSweepContext) {
    this.#context = context;
    this.#access = new RailwayAccess(context.railway);
  }

  async run(): Promise<void> {
    const { store, dryRun, internalToken } = this.#context;
    const installation = await readInstallationId(store);
    if (installation === null) return;
    const us = { installation, owner: await ownerOf(internalToken) };
    const place = await this.#access.place(this.#signal);
    const { project } = await this.#call(
      projectServices,
      { project: place.project },
      `project ${place.project}`,
    );
    const services = nodesOf(project.services).filter(({ deletedAt }) => deletedAt === null);
    const record = `marks ${place.project} ${place.environment}`;
    const former = await store.readRecord("railway", record);
    const known = looks.safeParse(JSON.parse(former ?? "{}")).data ?? {};
    const fresh = await this.#readMarks(
      services.filter(({ id }) => known[id] === undefined),
      us,
      place,
    );
    const kept: z.infer<typeof looks> = {};
    const marked: Marked[] = [];
    for (const service of services) {
      const found = service.id in known ? known[service.id] : fresh.get(service.id);
      if (found === undefined) continue;
      if (found !== null) marked.push({ service, mark: { ...us, ...found } });
      // A service that was just created may not show its variables yet.
      if (this.#isOld(service)) kept[service.id] = found;
    }
    for (const id of await this.#judge(marked, place)) delete kept[id];
    const body = JSON.stringify(kept);
    if (!dryRun && body !== former) await store.writeRecord("railway", record, body);
  }

  /** By the services' ids; null for one that isn't ours. A service that can't be read is missing. */
  async #readMarks(
    services: RailwayService[],
    us: Identity,
    place: RailwayPlace,
  ): Promise<Map<string, Look | null>> {
    const found = new Map<string, Look | null>();
    // From anywhere on, so that those that can never be read leave room for the others.
    const start = Math.floor(Math.random() * services.length);
    for (const service of [...services.slice(start), ...services.slice(0, start)].slice(0, READS_LIMIT)) {
      if (!this.#context.mayGoOn()) break;
      try {
        const mark = await this.#readMark(service, place);
        const isOurs = mark?.owner === us.owner && mark.installation === us.installation;
        found.set(service.id, isOurs ? lookOf(mark) : null);
      } catch (error) {
        if (!(error instanceof RailwayError)) throw error;
        this.errors.push({ app: "*", message: error.message });
        if (error.retryable) break;
      }
    }
    return found;
  }

  /** Returns the services whose mark has changed since it was read. */
  async #judge(marked: Marked[], place: RailwayPlace): Promise<string[]> {
    const changed: string[] = [];
    const apps = new Map<string, Promise<Known>>();
    let deletions = 0;
    for (const { service, mark } of marked) {
      if (!this.#context.mayGoOn()) break;
      try {
        let app = apps.get(mark.app);
        if (!app) apps.set(mark.app, (app = this.#readApp(mark.app)));
        const orphan = orphanOf(await app, mark, service.id);
        if (orphan === null) continue;
        const { why } = orphan;
        if (!this.#isOld(service)) {
          this.#decide("keep", "orphan_too_young", { service, mark }, why);
        } else if (!orphan.isProven) {
          this.#decide("keep", "orphan_unproven", { service, mark }, why);
        } else if (deletions >= DELETIONS_LIMIT) {
          this.#decide("keep", "orphan_next_run", { service, mark }, why);
        } else {
          deletions += 1;
          if (!(await this.#takeAway({ service, mark }, why, place))) changed.push(service.id);
        }
      } catch (error) {
        // Of one service; the next run looks at it again.
        if (!(error instanceof RailwayError)) throw error;
        this.errors.push({ app: mark.app, message: error.message });
      }
    }
    return changed;
  }

  /** False where it is somebody's after all. */
  async #takeAway({ service, mark }: Marked, why: string, place: RailwayPlace): Promise<boolean> {
    const { store, dryRun, now } = this.#context;
    if (!dryRun) {
      // Both again, right before: whose it is, and whether anybody has it.
      const current = await this.#readMark(service, place);
      const orphan = orphanOf(await this.#readApp(mark.app), mark, service.id);
      if (!isSame(mark, current) || orphan?.isProven !== true) {
        this.#decide("keep", "orphan_changed", { service, mark }, "it isn't what it was any more");
        return false;
      }
      const { environment } = place;
      await unlessGone(
        this.#call(serviceDelete, { environment, service: service.id }, `service ${service.name}`),
      );
      const details = { service: service.id, name: service.name, deployment: mark.deployment, why };
      const audit = { at: now(), app: mark.app, fromVersion: null, toVersion: null, details };
      await store.writeAudit({ ...audit, actor: "janitor", action: "railway.orphan-deleted" }, null);
    }
    this.#decide("delete", "orphaned_service", { service, mark }, why);
    return true;
  }

  #decide(
    action: Decision["action"],
    reason: Decision["reason"],
    { service, mark }: Marked,
    why: string,
  ): void {
    const { app, deployment } = mark;
    this.decisions.push({ app, deployment, action, reason, detail: `service ${service.name}: ${why}` });
  }

  async #readMark(service: RailwayService, place: RailwayPlace): Promise<ServiceMark | null> {
    const asked = { ...place, service: service.id };
    const read = await unlessGone(this.#call(serviceVariables, asked, `service ${service.name}`));
    return read && readMark(read.variables);
  }

  async #readApp(name: string): Promise<Known> {
    const { store } = this.#context;
    const stored = await store.readApp(name);
    if (stored !== null) return { app: parseAppDocument(stored.body) };
    const entries = await store.listAudit({ app: name, limit: AUDIT_LOOKED_AT, before: null });
    return { app: null, deletedAt: entries.find(({ action }) => action === "app.deleted")?.at ?? null };
  }

  /** By Railway's clock, which dated it. */
  #isOld({ createdAt }: RailwayService): boolean {
    return this.#context.now() + this.#access.client.clockAheadMs - Date.parse(createdAt) > SAFE_AGE_MS;
  }

  /** Leaves half of the budget to rollouts. */
  #call<Variables, Result>(
    operation: Operation<Variables, Result>,
    variables: Variables,
    about: string,
  ): Promise<Result> {
    return this.#access.client.call(operation, variables, { about, isAside: true, signal: this.#signal });
  }
}

function lookOf({ app, deployment, created }: Look): Look {
  return { app, deployment, created };
}

function isSame(mark: ServiceMark, other: ServiceMark | null): boolean {
  const { owner, installation, app, deployment, created } = mark;
  return (
    other?.owner === owner &&
    other.installation === installation &&
    other.app === app &&
    other.deployment === deployment &&
    other.created === created
  );
}
