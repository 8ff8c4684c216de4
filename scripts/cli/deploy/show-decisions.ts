import type { Decision } from "../detect/detect.ts";
import type { Output } from "../output.ts";

/** What was concluded from the files, before anything is done with it. */
export function showDecisions(output: Output, decisions: readonly Decision[]): void {
  if (decisions.length === 0) return;
  output.event({ type: "decisions", decisions }, () =>
    decisions
      .map(({ what, value, why }) => `  ${what.padEnd(8)} ${value}  ${output.style.dim(`(${why})`)}`)
      .join("\n"),
  );
}
