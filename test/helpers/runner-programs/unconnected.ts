import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { serveRelay } from "../../../runner/confinement/relay.ts";
import { createInternalApi } from "../../../runner/deployments/api.ts";
import { serveStatic } from "../../../runner/static/serve.ts";
import { Workspace, type WorkspaceOptions } from "../../../runner/workspace.ts";

// As the runner's own program, which this one stands for.
if (process.argv[2] === "relay") {
  await serveRelay(process.argv.slice(3));
  await new Promise(() => undefined);
}
if (process.argv[2] === "static") {
  await serveStatic(process.argv.slice(3));
  process.exit();
}

/** A runner without its connection, as a process that tests can kill: the workspace, and its internal API on loopback. */
const options = JSON.parse(process.argv[2] ?? "{}") as WorkspaceOptions;
const workspace = await Workspace.open({
  ...options,
  onPortEvent: (event) => console.error(JSON.stringify(event)),
});
const { deployments, projects, sources, disk, cleanup } = workspace;
const ending = new AbortController().signal;
const server = createServer(createInternalApi({ deployments, projects, sources, disk, cleanup, ending }));
server.listen(0, "127.0.0.1", () => {
  console.log(`listening on port ${(server.address() as AddressInfo).port}`);
});
process.once("SIGTERM", () => {
  server.closeAllConnections();
  server.close();
  void workspace.close().then(() => process.exit(0));
});
