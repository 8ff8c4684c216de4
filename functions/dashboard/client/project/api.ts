import type { z } from "zod";
import type { linkView, projectDetails, projectView } from "../../../control/project-schemas.ts";
import type { runnerView } from "../../../control/runner-schemas.ts";
import { isOver, type BuildState, type BuildView } from "../../../protocol/builds.ts";
import { call } from "../api.ts";
import type { Tone } from "../parts/dot.tsx";

export type ProjectSummary = z.infer<typeof projectView>;
export type ProjectDetails = z.infer<typeof projectDetails>;
export type PreviewLink = z.infer<typeof linkView>;
export type RunnerSummary = z.infer<typeof runnerView>;

/** `projectPath("shop", "files", "a/b")`: every part is encoded. */
export function projectPath(...parts: string[]): string {
  return `/projects/${parts.map(encodeURIComponent).join("/")}`;
}

export function readProject(slug: string, signal?: AbortSignal): Promise<ProjectDetails> {
  return call("GET", projectPath(slug), undefined, signal === undefined ? {} : { signal });
}

/** For a call that may be sent again after its answer was lost. */
export function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}

export const buildTones: Record<BuildState, Tone> = {
  queued: "busy",
  running: "busy",
  waiting: "busy",
  completed: "good",
  failed: "bad",
  cancelled: "off",
  interrupted: "bad",
};

export const buildWords: Record<BuildState, string> = {
  queued: "waits for its turn",
  running: "at work",
  waiting: "waits for your answer",
  completed: "done",
  failed: "failed",
  cancelled: "cancelled",
  interrupted: "interrupted",
};

export function openBuilds(builds: readonly BuildView[]): BuildView[] {
  return builds.filter(({ state }) => !isOver(state));
}
