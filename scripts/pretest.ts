import { requirePrograms } from "./local/debian-packages.ts";

requirePrograms([
  { program: "redis-server", package: "redis-server" },
  { program: "chromium", package: "chromium" },
  { program: "bwrap", package: "bubblewrap" },
  { program: "pasta", package: "passt" },
  { program: "script", package: "bsdutils" },
]);
