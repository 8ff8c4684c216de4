import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { ConnectionTimings } from "../../../runner/connection/connection.ts";
import { main } from "../../../runner/main.ts";

/**
 * The runner as it is shipped, with services by port from TEST_SERVICES, builds that only take their time or wait until
 * a file is there, and its pauses from TEST_TIMINGS.
 */
const services: unknown = JSON.parse(process.env["TEST_SERVICES"] ?? "{}");
const timings: Partial<ConnectionTimings> = Object(JSON.parse(process.env["TEST_TIMINGS"] ?? "{}"));

await main((runner) => {
  runner.internalApi.route("GET", "/memory/:what", (_request, response, { what }) => {
    (globalThis as { gc?: () => void }).gc?.();
    response.end(JSON.stringify({ what, ...process.memoryUsage() }));
  });
  runner.internalApi.route("PUT", "/echo/*", (request, response, { "*": rest }) => {
    response.setHeader("x-rest", rest ?? "");
    request.pipe(response);
  });
  runner.attach({
    name: "fixture",
    lookup(service) {
      const numbered = /^port:(\d+)$/.exec(service)?.[1];
      if (numbered !== undefined) return { port: Number(numbered) };
      const port = new Map(Object.entries(Object(services))).get(service);
      return typeof port === "number" ? { port } : null;
    },
    commands: {
      "start-build": async ({ payload }, { answer }) => {
        await sleep(Number(payload["ms"] ?? 0));
        while (typeof payload["gate"] === "string" && !existsSync(payload["gate"])) await sleep(10);
        if (payload["fail"] === true) throw new Error("the fixture was told to fail");
        if (payload["throw"] === true)
          setImmediate(() => {
            throw new Error("nobody catches this");
          });
        answer({ type: "build-completed", payload: { todos: [] } });
        console.log("[fixture] a build is over");
      },
    },
  });
}, timings);
