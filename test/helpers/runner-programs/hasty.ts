import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { readInvocation } from "../../../runner/config.ts";
import { Hosting } from "../../../runner/hosting.ts";
import { noReporter } from "../../../runner/observability/sentry.ts";
import { Runner } from "../../../runner/runner.ts";
import { createLog } from "../../../runner/terminal/log.ts";

/**
 * The runner as it is shipped, but for one number: a connection counts as stable after 200 ms instead of 10 s. So a
 * cut each second is to it what a cut each minute is to a real one, and not an outage to back off from. SIGUSR2 has it
 * write how many bytes are in use after a full collection.
 */
const invocation = readInvocation(process.argv.slice(2), process.env);
if (invocation.kind !== "run") throw new Error("This one only runs.");
const { config } = invocation;
const log = createLog({ debug: false, secrets: [config.sharedSecret ?? ""] });
const runner = new Runner({ config, log, reporter: noReporter, timings: { stableMs: 200 } });
const { workspaceRoot: root, confinement } = config;
runner.attach(new Hosting({ root, confinement }, runner.internalApi));
setFlagsFromString("--expose-gc");
const collect: unknown = runInNewContext("gc");
process.on("SIGUSR2", () => {
  if (typeof collect !== "function") throw new Error("V8 gives no collection.");
  for (let times = 0; times < 2; times++) collect();
  const { heapUsed, external } = process.memoryUsage();
  console.log(`[live bytes ${heapUsed + external}]`);
});
process.on("SIGTERM", () => void end());
await runner.start();

async function end(): Promise<void> {
  await runner.stop();
  process.exit(0);
}
