import { memo } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { ansiLines } from "./ansi.ts";

/** Lines of a terminal that are shown, its last ones. */
const LINES_LIMIT = 400;

/** What a program wrote, with its colours and nothing else that it told its terminal. */
export const AnsiText = memo(({ text, label }: { text: string; label: string }): JSX.Element => {
  const lines = ansiLines(text.replace(/\n$/, ""));
  const shown = lines.slice(-LINES_LIMIT);
  return (
    <>
      {shown.length < lines.length && (
        <p class="quiet">
          The last {LINES_LIMIT} lines of {lines.length}:
        </p>
      )}
      <pre class="terminal" tabIndex={0} role="region" aria-label={label}>
        {shown.map((pieces) => (
          <span class="line">
            {pieces.map(({ text, look }) => (look === "" ? text : <span class={look}>{text}</span>))}
            {"\n"}
          </span>
        ))}
      </pre>
    </>
  );
});
