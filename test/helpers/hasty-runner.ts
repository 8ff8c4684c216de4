import { readInvocation } from "../../runner/config.ts";
import { Hosting } from "../../runner/hosting.ts";
import { noReporter } from "../../runner/observability/sentry.ts";
import { Runner } from "../../runner/runner.ts";
import { createLog } from "../../runner/terminal/log.ts";

/**
 * The runner as it is shipped, but for one number: a connection counts as stable after 200 ms instead of 10 s. So a
 * cut each second is to it what a cut each minute is to a real one, and not an outage to back off from.
 */
const invocation = readInvocation(process.argv.slice(2), process.env);
if (invocation.kind !== "run") throw new Error("This one only runs.");
const { config } = invocation;
const log = createLog({ debug: false, secrets: [config.sharedSecret] });
const runner = new Runner({ config, log, reporter: noReporter, timings: { stableMs: 200 } });
runner.attach(new Hosting({ root: config.workspaceRoot }, runner.internalApi));
process.on("SIGTERM", () => void end());
await runner.start();

async function end(): Promise<void> {
  await runner.stop();
  process.exit(0);
}
