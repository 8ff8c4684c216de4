import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, config) => {
  const {
    workspaceRoot: root,
    diskQuotaBytes,
    inheritEnvironment,
    confinement,
    guestLimits,
    agents,
    buildLimits,
  } = config;
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  const sendBuildEvents = runner.sendBuildEvents.bind(runner);
  const options = {
    root,
    inheritEnvironment,
    confinement,
    limits: guestLimits,
    agents,
    buildLimits,
    sendBuildEvents,
  };
  runner.attach(new Hosting({ ...options, ...quota }, runner.internalApi));
});
