import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createStaticServer } from "./server.ts";
import { readStaticSettings } from "./settings.ts";

/** `signalbox-runner static DIR…`: serves until it is told to stop, then finishes what it has begun. */
export async function serveStatic(args: string[]): Promise<void> {
  const settings = readStaticSettings(args, process.env, process.cwd());
  const server = createStaticServer(settings, process.env["PULSE_DEPLOYMENT_ID"] ?? "");
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      server.close();
      server.closeIdleConnections();
    });
  }
  await once(server.listen(settings.port, settings.host), "listening");
  const { port } = server.address() as AddressInfo;
  console.log(`Serving ${settings.directory} on http://${settings.host}:${port}/`);
  await once(server, "close");
}
