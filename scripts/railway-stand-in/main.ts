import { startRailwayStandIn } from "./index.ts";

/** Runs the stand-in from a shell: `node scripts/railway-stand-in/main.ts`, with PORT if it should have a fixed one. */

const port = process.env["PORT"] ?? "0";
if (!/^\d{1,5}$/.test(port)) throw new Error("PORT must be a number.");
const node = (script: string): { command: string[] } => ({ command: [process.execPath, "-e", script] });
const standIn = await startRailwayStandIn({
  port: Number(port),
  images: {
    hello: node(
      `require("node:http").createServer((_, answer) => answer.end("hello\\n")).listen(process.env.PORT)`,
    ),
  },
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    void standIn.stop().then(() => process.exit(0));
  });
}
console.log(
  [
    `export RAILWAY_API_URL=${standIn.url}`,
    `export RAILWAY_API_TOKEN=${standIn.accountToken} # or: RAILWAY_TOKEN=${standIn.projectToken}`,
    `export RAILWAY_PROJECT_ID=${standIn.projectId} RAILWAY_ENVIRONMENT_ID=${standIn.environmentId}`,
  ].join("\n"),
);
