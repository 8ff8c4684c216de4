import { afterAll, beforeAll, describe } from "vitest";
import { startHub, type Hub, type HubConnection } from "./hub-client.ts";
import { startLocalService, type LocalService } from "./local-service.ts";
import {
  bundleWithServices,
  runtimeCommand,
  startRunner,
  type RunnerProcess,
  type Runtime,
} from "./runner.ts";

/** A hub, a runner that is connected to it, and what the runner serves: `app`, and `six` on IPv6 only. */
export interface TunnelWorld {
  hub: Hub;
  local: LocalService;
  runner: RunnerProcess;
  link: HubConnection;
  stop(): Promise<void>;
}

/** A suite on Node and on Deno, each with a world of its own, which is there once its tests run. */
export function describeTunnel(
  name: string,
  suite: (world: Pick<TunnelWorld, "local" | "runner" | "link">, runtime: Runtime) => void,
): void {
  describe(name, () => {
    let fixture: Awaited<ReturnType<typeof bundleWithServices>>;
    beforeAll(async () => {
      fixture = await bundleWithServices();
    });
    afterAll(() => fixture.remove());

    describe.each<Runtime>(["node", "deno"])("on %s", (runtime) => {
      let world: TunnelWorld;
      beforeAll(async () => {
        world = await startTunnelWorld(runtimeCommand(runtime, fixture.bundle));
      });
      afterAll(() => world.stop());
      const later = {
        get local() {
          return world.local;
        },
        get runner() {
          return world.runner;
        },
        get link() {
          return world.link;
        },
      };
      suite(later, runtime);
    });
  });
}

export async function startTunnelWorld(
  command: readonly [command: string, ...args: string[]],
): Promise<TunnelWorld> {
  const hub = await startHub();
  const local = await startLocalService();
  const local6 = await startLocalService("::1");
  const runner = await startRunner(hub, {
    command,
    services: { app: local.port, six: local6.port, gone: 1 },
    env: { TEST_TIMINGS: JSON.stringify({ reconnectFirstMs: 50, reconnectLimitMs: 50 }) },
  });
  return {
    hub,
    local,
    runner,
    link: await hub.connection(0),
    async stop() {
      await runner.remove();
      await hub.close();
      await local.close();
      await local6.close();
    },
  };
}

/** Raw headers as lines. */
export function headerLines(raw: string[]): string[] {
  return raw.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${raw[at + 1]}`] : []));
}

export interface Memory {
  heapUsed: number;
  rss: number;
  arrayBuffers?: number;
}

/** The runner's memory after a garbage collection. */
export async function collect(link: HubConnection): Promise<Memory> {
  const stream = link.streams.request({ service: "@runner", path: "/memory/now" });
  return JSON.parse((await stream.body()).toString()) as Memory;
}
