import { createInterface } from "node:readline";
import { join } from "node:path";
import { projectRoot } from "../../scripts/build/worker.ts";
import { GuardedProcess } from "../../scripts/local/guarded-process.ts";

export interface ExampleApp {
  url: string;
  port: number;
  stop(): Promise<void>;
}

/** Starts `examples/live-counter` as one deployment's backend, with the environment of the app contract. */
export async function startExample(options: {
  deploymentId: string;
  internalToken: string;
  /** 0 takes a free port. */
  port: number;
  serverAddress: string;
  env?: Record<string, string>;
}): Promise<ExampleApp> {
  const guarded = new GuardedProcess(
    process.execPath,
    [join(projectRoot, "examples/live-counter/server.ts")],
    {
      env: {
        PATH: process.env["PATH"] ?? "",
        PORT: String(options.port),
        PULSE_DEPLOYMENT_ID: options.deploymentId,
        PULSE_RAILWAY_INTERNAL_TOKEN: options.internalToken,
        PULSE_SERVER_ADDRESS: options.serverAddress,
        ...options.env,
      },
      stdout: "pipe",
    },
  );
  guarded.child.stderr?.pipe(process.stderr);
  const output = guarded.child.stdout;
  if (!output) throw new Error("The example's output isn't piped.");
  const listening = new Promise<number>((resolve) => {
    createInterface({ input: output }).on("line", (line) => {
      const port = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
  });
  const died = guarded.exited.then((code) => {
    throw new Error(`The example ended with code ${code} before it listened. Is port ${options.port} taken?`);
  });
  died.catch(() => undefined);
  const port = await Promise.race([listening, died]);
  return { url: `http://127.0.0.1:${port}`, port, stop: () => guarded.stop() };
}
