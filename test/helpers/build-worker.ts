import { join } from "node:path";
import { buildWorker, projectRoot } from "../../scripts/build-worker.ts";

/** Where the Worker under test lies; built once for each run. */
export const workerFile = join(projectRoot, "dist/test/worker.js");

export default async function setup(): Promise<void> {
  await buildWorker(join(projectRoot, "dist/test"));
}
