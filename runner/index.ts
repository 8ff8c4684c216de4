import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, { workspaceRoot, diskQuotaBytes, inheritEnvironment, confinement }) => {
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  runner.attach(
    new Hosting({ root: workspaceRoot, inheritEnvironment, confinement, ...quota }, runner.internalApi),
  );
});
