import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, { workspaceRoot, diskQuotaBytes, inheritEnvironment, agent }) => {
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  const sendBuildEvents = runner.sendBuildEvents.bind(runner);
  const options = { root: workspaceRoot, inheritEnvironment, agent, sendBuildEvents, ...quota };
  runner.attach(new Hosting(options, runner.internalApi));
});
