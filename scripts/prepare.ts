import { bundleCli } from "./build-cli.ts";

// `npm ci` runs this, so that `npx signalbox` is there without a build.
await bundleCli();
