import { installPrograms, requirePrograms } from "./local/debian-packages.ts";

requirePrograms([
  { program: "redis-server", package: "redis-server" },
  { program: "chromium", package: "chromium" },
  { program: "bwrap", package: "bubblewrap" },
  { program: "pasta", package: "passt" },
  { program: "script", package: "bsdutils" },
]);
// Tests are sooner with it. Without it they use Chromium itself.
installPrograms([{ program: "chromium-headless-shell", package: "chromium-headless-shell" }]);
