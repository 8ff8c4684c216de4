import { main } from "./main.ts";

await main(() => {
  // The parts that workspaces, builds and deployments bring are attached here.
});
