import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../local/free-port.ts";
import { build, BuildFailure, copyUpload, type Runnable, type Sources } from "./build.ts";
import type { Destination } from "./domains.ts";
import type { Faults } from "./faults.ts";
import { ServiceProcess } from "./service-process.ts";
import { renderedVariables } from "./variables.ts";
import { setStatus, type Deployment, type Instance, type LogLine, type Source, type World } from "./world.ts";

export interface Pace {
  /** How long each state before running lasts at least. */
  stepMs: number;
  /** How long a Railway second lasts: overlap, draining and health-check timeouts are in it. */
  secondMs: number;
  /** Whether a request that wakes a sleeping service is answered 502. */
  coldStart502: boolean;
}

/** A deployment that runs, or did until it fell asleep. */
interface Live {
  deployment: Deployment;
  runnable: Required<Runnable>;
  port: number;
  process: ServiceProcess | null;
  restarts: number;
  /** Nobody wants it to run any more: its end is no crash. */
  ending: boolean;
  /** It ended by itself too often. */
  crashed: boolean;
  waking: Promise<boolean> | null;
}

const HEALTH_TIMEOUT_SECONDS = 300;
const HEALTH_PERIOD_MS = 50;
const WAKE_LIMIT_MS = 10_000;
const RESTART_DELAY_MS = 100;

/** Takes deployments from QUEUED to a process that runs, and away again. */
export class Rollouts {
  readonly #world: World;
  readonly #faults: Faults;
  readonly #sources: Sources;
  readonly #pace: Pace;
  /** What the domains of an instance lead to. */
  readonly #serving = new Map<string, Live>();
  /** All that has a process, serving or about to, or on its way out. */
  readonly #alive = new Set<Live>();
  readonly #underway = new Map<Deployment, AbortController>();
  readonly #work = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(world: World, faults: Faults, sources: Sources, pace: Pace) {
    this.#world = world;
    this.#faults = faults;
    this.#sources = sources;
    this.#pace = pace;
  }

  /** Begins a deployment; it goes on by itself. */
  start(instance: Instance, source: Source): Deployment {
    const deployment = this.#world.addDeployment(instance, source);
    const abort = new AbortController();
    this.#underway.set(deployment, abort);
    this.#track(
      this.#run(deployment, instance, abort.signal).finally(() => this.#underway.delete(deployment)),
    );
    return deployment;
  }

  /** Where the requests of an instance go; wakes it when it sleeps. */
  async destination(instanceId: string): Promise<Destination> {
    const live = this.#serving.get(instanceId);
    if (live === undefined) return "none";
    if (live.deployment.status === "SLEEPING" && live.waking === null) {
      live.waking = this.#wake(live);
      this.#track(live.waking.then(() => undefined));
      if (this.#pace.coldStart502) return "failed";
    }
    return (await (live.waking ?? true)) ? { port: live.port } : "failed";
  }

  async #wake(live: Live): Promise<boolean> {
    await this.#launch(live);
    setStatus(live.deployment, "SUCCESS");
    const isAwake = await this.#listens(live.port, WAKE_LIMIT_MS);
    live.waking = null;
    return isAwake;
  }

  /** Puts an instance to sleep, as Railway does with one that had no traffic for a while. */
  async sleep(instanceId: string): Promise<void> {
    const live = this.#serving.get(instanceId);
    if (live?.process == null) throw new Error("Only what runs can fall asleep.");
    setStatus(live.deployment, "SLEEPING");
    const { process } = live;
    live.process = null;
    this.#alive.delete(live);
    await process.stop(this.#pace.secondMs);
  }

  /** Ends one deployment for good. */
  async end(deployment: Deployment): Promise<void> {
    this.#underway.get(deployment)?.abort();
    const lives = [...this.#alive, ...this.#serving.values()].filter((one) => one.deployment === deployment);
    await Promise.all(lives.map((live) => this.#retire(live, 0)));
    if (deployment.status !== "FAILED") setStatus(deployment, "REMOVED");
  }

  /** Starts a deployment's process again. */
  async restart(deployment: Deployment): Promise<void> {
    const live = this.#serving.get(deployment.instanceId);
    if (live?.deployment !== deployment) throw new Error("Only what runs can be restarted.");
    const { process } = live;
    live.process = null;
    await process?.stop(this.#drainMs(deployment));
    live.restarts = 0;
    live.crashed = false;
    setStatus(deployment, "SUCCESS");
    await this.#launch(live);
  }

  /** Ends all that an instance has, at once. */
  async endInstance(instanceId: string): Promise<void> {
    await Promise.all(
      this.#world.deploymentsOf(instanceId).map(async (deployment) => {
        if (deployment.status !== "REMOVED") await this.end(deployment);
      }),
    );
  }

  /** Process groups that live, by deployment. */
  processes(): { deploymentId: string; group: number }[] {
    return [...this.#alive].flatMap(({ deployment, process }) =>
      process === null ? [] : [{ deploymentId: deployment.id, group: process.group }],
    );
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const abort of this.#underway.values()) abort.abort();
    for (const live of this.#alive) live.ending = true;
    await this.#killAll();
    await Promise.all(this.#work);
    // What was launched meanwhile.
    await this.#killAll();
  }

  async #killAll(): Promise<void> {
    await Promise.all(
      [...this.#alive].map(async ({ process }) => {
        await process?.stop(0);
      }),
    );
  }

  async #run(deployment: Deployment, instance: Instance, signal: AbortSignal): Promise<void> {
    let live: Live | null = null;
    try {
      const name = this.#world.service(deployment.serviceId)?.name ?? "";
      const log = logInto(deployment.buildLogs);
      await this.#step(deployment, null, signal);
      await this.#step(deployment, "INITIALIZING", signal);
      await this.#step(deployment, "BUILDING", signal);
      const env = await this.#environment(instance);
      if (this.#faults.failingBuilds.has(name) || env["STAND_IN_BUILD_FAILS"] !== undefined) {
        log("error: the build was made to fail", "error");
        throw new BuildFailure("Build failed");
      }
      const source = await this.#ownSource(deployment);
      deployment.source = source;
      const runnable = await build(deployment, instance, this.#sources, env, log, signal);
      signal.throwIfAborted();
      await this.#step(deployment, "DEPLOYING", signal);
      const former = this.#serving.get(instance.id);
      // A volume can be mounted once: the old process has to be gone first.
      if (former && this.#world.volumeOf(instance))
        await this.#retire(former, this.#drainMs(former.deployment));
      live = {
        deployment,
        runnable,
        port: await freePort(),
        process: null,
        restarts: 0,
        ending: false,
        crashed: false,
        waking: null,
      };
      await this.#launch(live);
      if (!(await this.#becomesHealthy(live, instance, signal))) {
        signal.throwIfAborted();
        logInto(deployment.deployLogs)("Healthcheck failed: the replica never became healthy", "error");
        throw new BuildFailure("Healthcheck failed");
      }
      signal.throwIfAborted();
      this.#serve(live, instance);
    } catch (error) {
      if (live !== null) await this.#retire(live, 0);
      if (signal.aborted) return;
      if (!(error instanceof BuildFailure)) throw error;
      logInto(deployment.buildLogs)(error.message, "error");
      setStatus(deployment, "FAILED");
    }
  }

  /** The new one takes the domains; the old one goes on for the overlap and is drained then. */
  #serve(live: Live, instance: Instance): void {
    const newer = this.#serving.get(instance.id);
    const order = (one: Deployment): number => this.#world.deployments.indexOf(one);
    if (newer && order(newer.deployment) > order(live.deployment)) {
      this.#track(this.#retire(live, 0));
      return;
    }
    this.#serving.set(instance.id, live);
    setStatus(live.deployment, "SUCCESS");
    this.#judge(live);
    if (newer === undefined) return;
    const overlapMs = (instance.settings.overlapSeconds ?? 0) * this.#pace.secondMs;
    const leave = async (): Promise<void> => {
      await delay(overlapMs, this.#stopping.signal);
      await this.#retire(newer, this.#drainMs(newer.deployment));
    };
    this.#track(leave());
  }

  async #retire(live: Live, drainMs: number): Promise<void> {
    live.ending = true;
    if (this.#serving.get(live.deployment.instanceId) === live)
      this.#serving.delete(live.deployment.instanceId);
    if (live.process !== null) {
      if (live.deployment.status === "SUCCESS") setStatus(live.deployment, "REMOVING");
      await live.process.stop(drainMs);
      this.#alive.delete(live);
    }
    if (!["FAILED", "DEPLOYING"].includes(live.deployment.status)) setStatus(live.deployment, "REMOVED");
  }

  async #launch(live: Live): Promise<void> {
    const { deployment, runnable, port } = live;
    const instance = this.#world.instance(deployment.serviceId, deployment.environmentId);
    const name = this.#world.service(deployment.serviceId)?.name ?? "";
    if (instance === undefined || this.#stopping.signal.aborted) return;
    const env = { ...runnable.env, ...(await this.#environment(instance)) };
    const crashes = this.#faults.crashing.has(name) || env["STAND_IN_CRASHES"] !== undefined;
    const process = new ServiceProcess(crashes ? CRASH : runnable.command, {
      cwd: runnable.cwd,
      // Every container has all ports to itself; here each gets one that nobody has.
      env: { ...env, PORT: String(port), RAILWAY_DEPLOYMENT_ID: deployment.id },
      onLine: logInto(deployment.deployLogs),
    });
    live.process = process;
    this.#alive.add(live);
    this.#track(this.#watch(live, process, instance));
  }

  async #watch(live: Live, process: ServiceProcess, instance: Instance): Promise<void> {
    const code = await process.exited;
    if (live.process !== process || live.ending) return;
    live.process = null;
    this.#alive.delete(live);
    const severity = code === 0 ? "info" : "error";
    logInto(live.deployment.deployLogs)(`the process ended with code ${code}`, severity);
    await this.#afterEnd(live, instance, code);
  }

  async #afterEnd(live: Live, instance: Instance, code: number): Promise<void> {
    const { restartPolicyType, restartPolicyMaxRetries } = instance.settings;
    const again =
      restartPolicyType === "ALWAYS" ||
      (restartPolicyType === "ON_FAILURE" && code !== 0 && live.restarts < restartPolicyMaxRetries);
    if (again) {
      live.restarts += 1;
      await delay(Math.min(RESTART_DELAY_MS, this.#pace.secondMs), this.#stopping.signal);
      if (!live.ending) await this.#launch(live);
      return;
    }
    live.crashed = code !== 0;
    this.#judge(live);
  }

  /** Called CRASHED is only what served; what ends while it is deployed has failed its health check. */
  #judge(live: Live): void {
    if (live.crashed && live.deployment.status === "SUCCESS") setStatus(live.deployment, "CRASHED");
  }

  async #becomesHealthy(live: Live, instance: Instance, signal: AbortSignal): Promise<boolean> {
    const { healthcheckPath, healthcheckTimeout } = instance.settings;
    if (healthcheckPath === null || healthcheckPath === "") return true;
    const deadline = Date.now() + (healthcheckTimeout ?? HEALTH_TIMEOUT_SECONDS) * this.#pace.secondMs;
    while (Date.now() < deadline && !signal.aborted) {
      const isHealthy = await fetch(`http://127.0.0.1:${live.port}${healthcheckPath}`, {
        headers: { "user-agent": "RailwayHealthCheck/1.0" },
        redirect: "manual",
        signal: AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, deadline - Date.now()))]),
      }).then(
        async (response) => {
          await response.body?.cancel();
          return response.status === 200;
        },
        () => false, // it doesn't listen yet
      );
      if (isHealthy) return true;
      if (live.crashed) return false;
      await delay(HEALTH_PERIOD_MS, signal);
    }
    return false;
  }

  async #step(
    deployment: Deployment,
    status: "INITIALIZING" | "BUILDING" | "DEPLOYING" | null,
    signal: AbortSignal,
  ) {
    signal.throwIfAborted();
    if (status !== null) setStatus(deployment, status);
    await delay(this.#pace.stepMs, signal);
    signal.throwIfAborted();
  }

  /** What a process of the service gets; a volume's mount path becomes a directory of this machine. */
  async #environment(instance: Instance): Promise<Record<string, string>> {
    const home = join(this.#sources.directory, "home", instance.id);
    await mkdir(home, { recursive: true });
    const volume = this.#world.volumeOf(instance);
    const mounted = volume ? join(this.#sources.directory, "volumes", volume.id) : null;
    if (mounted) await mkdir(mounted, { recursive: true });
    const rendered = [...renderedVariables(this.#world, instance)].map(([name, value]) => {
      const isInside = volume && (value === volume.mountPath || value.startsWith(`${volume.mountPath}/`));
      return [name, isInside ? `${mounted}${value.slice(volume.mountPath.length)}` : value] as const;
    });
    return { PATH: process.env["PATH"] ?? "", HOME: home, ...Object.fromEntries(rendered) };
  }

  /** A redeployed upload gets a file of its own, so that either can be removed. */
  async #ownSource(deployment: Deployment): Promise<Source> {
    const { source } = deployment;
    if (!("upload" in source)) return source;
    const own = join(this.#sources.directory, "uploads", `${deployment.id}.tgz`);
    if (source.upload !== own) await copyUpload(source.upload, own);
    return { upload: own };
  }

  #drainMs(deployment: Deployment): number {
    const instance = this.#world.instance(deployment.serviceId, deployment.environmentId);
    return (instance?.settings.drainingSeconds ?? 0) * this.#pace.secondMs;
  }

  async #listens(port: number, limitMs: number): Promise<boolean> {
    const deadline = Date.now() + limitMs;
    while (Date.now() < deadline && !this.#stopping.signal.aborted) {
      const socket = connect(port, "127.0.0.1");
      const isOpen = await once(socket, "connect").then(
        () => true,
        () => false, // not yet
      );
      socket.destroy();
      if (isOpen) return true;
      await delay(HEALTH_PERIOD_MS, this.#stopping.signal);
    }
    return false;
  }

  #track(work: Promise<void>): void {
    const guarded = work.catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) console.error("railway stand-in:", error);
    });
    this.#work.add(guarded);
    void guarded.finally(() => this.#work.delete(guarded));
  }
}

const CRASH = ["/bin/sh", "-c", "echo 'made to crash' >&2; exit 1"];

function logInto(lines: LogLine[]): (message: string, severity?: "info" | "error") => void {
  return (message, severity = "info") => {
    lines.push({ message, severity, timestamp: new Date() });
  };
}

/** Waits, or less when the signal comes. */
async function delay(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch {
    // It was cut short; the caller looks at the signal.
  }
}
