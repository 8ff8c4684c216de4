import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/helpers/longest-first.ts";

const soak = process.env["SIGNALBOX_SOAK"] === "1";

/** What holds for a runner's guests, whatever they are kept in. */
const ofRunners = [
  "agent-requests",
  "builds",
  "deployment-logs",
  "hosted-deployments",
  "runner-deployments",
  "runner-disk",
  "runner-drain",
  "runner-installs",
  "runner-kill",
  "runner-tunnel",
  "runner-websocket",
].map((name) => `test/e2e/${name}.test.ts`);
/** Users of their own are root's to give. */
const levels = soak ? ["sandbox", ...(process.getuid?.() === 0 ? ["user"] : [])] : [];

export default defineConfig({
  test: {
    // The outer timeout only ends what hangs; tests wait for the thing itself.
    testTimeout: soak ? 900_000 : 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    // On two cores, too: most of them wait most of the time.
    maxWorkers: 5,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          isolate: false,
          globalSetup: "test/helpers/build-sdk.ts",
          include: ["test/{unit,contract,fuzz}/**/*.test.ts"],
          exclude: ["test/contract/embedded.test.ts"],
        },
      },
      {
        extends: true,
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                CONTROL_TOKEN: "control-token-for-tests",
                PULSE_RAILWAY_INTERNAL_TOKEN: "internal-token-for-tests",
              },
            },
          }),
        ],
        test: { name: "worker", include: ["test/worker/**/*.test.ts", "test/contract/embedded.test.ts"] },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          globalSetup: "test/helpers/build-worker.ts",
          include: ["test/{e2e,browser}/**/*.test.ts"],
          // CI's machine is shared: what fails once there and not again is shown as retried, not as passed silently.
          retry: process.env["CI"] === undefined ? 0 : 1,
        },
      },
      ...levels.map((level) => ({
        extends: true as const,
        test: {
          name: `e2e in ${level}`,
          globalSetup: "test/helpers/build-worker.ts",
          include: ofRunners,
          env: { SIGNALBOX_TEST_CONFINEMENT: level },
        },
      })),
    ],
  },
});
