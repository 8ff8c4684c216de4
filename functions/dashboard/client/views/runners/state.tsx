import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { Runner } from "../../api-types.ts";
import { Dot, type Tone } from "../../parts/dot.tsx";
import { Since } from "../../parts/since.tsx";

const TONES: Record<Runner["state"], Tone> = {
  online: "good",
  connecting: "busy",
  draining: "busy",
  lost: "bad",
  replaced: "off",
  offline: "off",
};

export function toneOf({ state, conflict }: Pick<Runner, "state" | "conflict">): Tone {
  return conflict ? "bad" : TONES[state];
}

/** Its dot, its state, why, and since when. */
export function RunnerState({ runner }: { runner: Runner }): JSX.Element {
  return (
    <span>
      <Dot tone={toneOf(runner)} label={runner.state} /> {runner.state}{" "}
      <span class="quiet">
        {runner.reason}, for <Since at={runner.since} />
      </span>
      {runner.conflict && <span class="bad"> · two runners use this id and keep replacing each other</span>}
    </span>
  );
}
