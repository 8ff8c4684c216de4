import { Hosting } from "./hosting.ts";
import { main } from "./main.ts";

await main((runner, { workspaceRoot, diskQuotaBytes, inheritEnvironment, confinement, guestLimits }) => {
  const quota = diskQuotaBytes === null ? {} : { quotaBytes: diskQuotaBytes };
  runner.attach(
    new Hosting(
      { root: workspaceRoot, inheritEnvironment, confinement, limits: guestLimits, ...quota },
      runner.internalApi,
    ),
  );
});
