import type { DevServerEvent } from "../projects/dev-server.ts";
import type { Words } from "./build-words.ts";

/** A dev server's event in SentryVibe's words. */
export function serverWords(event: DevServerEvent, previewUrl: string | null): Words {
  switch (event.type) {
    case "ready": {
      const { port, framework } = event;
      return {
        type: "port-detected",
        port,
        framework,
        ...(previewUrl === null ? {} : { tunnelUrl: previewUrl }),
      };
    }
    case "exited": {
      const { exit, ranMs: durationMs, state, reason, lastLines } = event;
      const failure = reason === null ? {} : { failureReason: reason, stderr: lastLines.join("\n") };
      return {
        type: "process-exited",
        exitCode: exit.code,
        signal: exit.signal,
        durationMs,
        state,
        ...failure,
      };
    }
    case "failed":
      return {
        type: "dev-server-error",
        error: event.reason,
        message: [event.reason, ...event.lastLines].join("\n"),
      };
  }
}
