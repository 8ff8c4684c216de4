import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, config) => {
  const { devServerIdleMs } = config;
  const idle = devServerIdleMs === null ? {} : { devServerIdleMs };
  const { workspaceRoot: root, diskQuotaBytes, inheritEnvironment, confinement, guestLimits, agent } = config;
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  const sendBuildEvents = runner.sendBuildEvents.bind(runner);
  const { sharedSecret, anthropicApiKey } = config;
  const secrets = [sharedSecret, anthropicApiKey].filter((secret) => secret !== null);
  const own = { agent, secrets, git: config.git };
  const told = { sendBuildEvents, send: runner.send.bind(runner), isBroker: () => runner.isBroker };
  const options = { root, inheritEnvironment, confinement, limits: guestLimits, ...own, ...told, ...idle };
  runner.attach(new Hosting({ ...options, ...quota }, runner.internalApi));
});
