import { requirePrograms } from "./local/debian-packages.ts";

requirePrograms([
  { program: "redis-server", package: "redis-server" },
  { program: "chromium", package: "chromium" },
  { program: "script", package: "bsdutils" },
]);
