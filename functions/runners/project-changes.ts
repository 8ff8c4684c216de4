import { tellChange } from "../changes/tell.ts";
import { BUILD_EVENTS_MESSAGE, parseBuildEvents, projectOfBuild } from "../protocol/builds.ts";
import type { RunnerEvent } from "../protocol/control.ts";
import type { StoreEnv } from "../state/open.ts";

/** Of a project's dev server. */
const SERVER_EVENTS: ReadonlySet<string> = new Set(["port-detected", "dev-server-error", "process-exited"]);

/** Tells whoever looks at a project that a build or its dev server is in another state now. */
export function tellProjectChange({ CHANGE_HUB }: StoreEnv, event: RunnerEvent): void {
  const slug = projectOf(event);
  if (slug !== null && CHANGE_HUB !== undefined) tellChange({ CHANGE_HUB }, `project:${slug}`);
}

function projectOf(event: RunnerEvent): string | null {
  if (SERVER_EVENTS.has(event.type)) return event.projectId ?? null;
  if (event.type !== BUILD_EVENTS_MESSAGE) return null;
  const message = parseBuildEvents(event);
  // Its other events are followed on the build's own stream.
  const isNews = message?.events.some(({ type }) => type === "state" || type === "question") ?? false;
  return message === null || !isNews ? null : projectOfBuild(message.buildId);
}
