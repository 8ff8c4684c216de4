import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, { workspaceRoot, diskQuotaBytes, inheritEnvironment }) => {
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  runner.attach(new Hosting({ root: workspaceRoot, inheritEnvironment, ...quota }, runner.internalApi));
});
