import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, config) => {
  const { workspaceRoot: root, inheritEnvironment, confinement, guestLimits, agents, buildLimits } = config;
  const { devServerIdleMs, diskQuotaBytes } = config;
  const idle = devServerIdleMs === null ? {} : { devServerIdleMs };
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  const sendBuildEvents = runner.sendBuildEvents.bind(runner);
  const told = { sendBuildEvents, send: runner.send.bind(runner), isBroker: () => runner.isBroker };
  const limits = guestLimits;
  const { sharedSecret, anthropicApiKey } = config;
  const secrets = [sharedSecret, anthropicApiKey].filter((secret) => secret !== null);
  const own = { limits, agents, buildLimits, secrets, git: config.git };
  const options = { root, inheritEnvironment, confinement, ...own, ...told, ...idle };
  runner.attach(new Hosting({ ...options, ...quota }, runner.internalApi));
});
