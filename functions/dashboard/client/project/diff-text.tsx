import { memo, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { visible } from "./ansi.ts";

/** Lines that are shown at first. */
const LINES_SHOWN = 300;

/** A diff's lines, each with its sign and colour. */
export const DiffText = memo(({ text, label }: { text: string; label: string }): JSX.Element => {
  const [isWhole, setIsWhole] = useState(false);
  const lines = text.replace(/\n$/, "").split("\n");
  const shown = isWhole ? lines : lines.slice(0, LINES_SHOWN);
  return (
    <>
      <pre class="diff" tabIndex={0} role="region" aria-label={label}>
        {shown.map((line) => (
          <span class={`line ${lookOf(line)}`}>
            {visible(line)}
            {"\n"}
          </span>
        ))}
      </pre>
      {shown.length < lines.length && (
        <button type="button" class="quiet" onClick={() => setIsWhole(true)}>
          Show all {lines.length} lines
        </button>
      )}
    </>
  );
});

function lookOf(line: string): string {
  if (/^(?:--- |\+\+\+ |diff --git )/.test(line)) return "file";
  if (line.startsWith("@@")) return "hunk";
  return line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
}
