/**
 * V8 frees what passed through the tunnel when it collects its young generation. A small one is collected often and holds
 * little: with a gigabyte through the tunnel, the process peaks 40 MiB lower and is quicker. An old
 * generation that starts at 64 MiB saves a full collection every 8 to 20 MB. The Dockerfile repeats them.
 */
export const NODE_FLAGS = [
  "--max-semi-space-size=1",
  "--no-concurrent-array-buffer-sweeping",
  "--initial-old-space-size=64",
];
