import type { BuildEvent, BuildView } from "../../functions/protocol/builds.ts";

/** The last builds that are told. */
const BUILDS_TOLD = 5;
const PROMPT_TOLD = 500;
const ANSWER_TOLD = 1_000;
const FILES_TOLD = 30;

/**
 * What earlier builds of a project did, from their events, for an agent whose session is gone; null: there were none.
 */
export function summaryOf(builds: { view: BuildView; events: BuildEvent[] }[]): string | null {
  if (builds.length === 0) return null;
  const told = builds
    .toSorted((one, other) => one.view.createdAt.localeCompare(other.view.createdAt))
    .slice(-BUILDS_TOLD)
    .map(({ view, events }) => {
      const said = events
        .map((event) => (event.type === "message" && event.from === "agent" ? event.text : ""))
        .join("");
      const files = new Set(events.flatMap((event) => (event.type === "tool" ? (event.files ?? []) : [])));
      return [
        `- Asked: ${cut(view.prompt, PROMPT_TOLD)}`,
        ...(said === "" ? [] : [`  Answered: …${said.slice(-ANSWER_TOLD)}`]),
        ...(files.size === 0 ? [] : [`  Files: ${[...files].slice(0, FILES_TOLD).join(", ")}`]),
        `  Ended: ${view.state}${view.reason === null ? "" : ` (${view.reason})`}`,
      ].join("\n");
    });
  return `Earlier in this project, which you find in this directory as it is now:\n${told.join("\n")}\n\nThe next request follows.`;
}

function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit)}…`;
}
