import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, { workspaceRoot, diskQuotaBytes, inheritEnvironment, guestLimits }) => {
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  runner.attach(
    new Hosting(
      { root: workspaceRoot, inheritEnvironment, limits: guestLimits, ...quota },
      runner.internalApi,
    ),
  );
});
