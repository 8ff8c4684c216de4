import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

export interface LogLine {
  text: string;
  stream?: "stdout" | "stderr" | "system" | undefined;
}

/** CSS gives each line this height. */
const LINE_PX = 20;
const MARGIN_LINES = 20;

/** Lines of a log: only those in sight are in the page, so 100,000 are as quick as ten. It stays at the end unless scrolled. */
export function Log({ lines, label }: { lines: readonly LogLine[]; label: string }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const shown = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [range, setRange] = useState({ from: 0, to: 60 });
  const measure = (): void => {
    const { current } = box;
    if (current === null) return;
    atEnd.current = current.scrollTop + current.clientHeight >= current.scrollHeight - LINE_PX;
    const from = Math.max(0, Math.floor(current.scrollTop / LINE_PX) - MARGIN_LINES);
    const to = from + Math.ceil(current.clientHeight / LINE_PX) + 2 * MARGIN_LINES;
    setRange((before) => (before.from === from && before.to === to ? before : { from, to }));
  };
  useEffect(() => {
    if (spacer.current !== null) spacer.current.style.height = `${lines.length * LINE_PX}px`;
    if (box.current !== null && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
    measure();
  }, [lines.length]);
  useEffect(() => {
    if (shown.current !== null) shown.current.style.transform = `translateY(${range.from * LINE_PX}px)`;
  }, [range.from]);
  return (
    <div class="log" ref={box} onScroll={measure} tabIndex={0} role="log" aria-label={label}>
      <div ref={spacer}>
        <div ref={shown}>
          {lines.slice(range.from, range.to).map(({ text, stream }) => (
            <div class={stream ?? "stdout"}>{plain(text)}</div>
          ))}
        </div>
      </div>
    </div>
  );
}

/** Colours and cursor moves of a terminal say nothing here. */
export function plain(text: string): string {
  return text
    .replace(/\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b\[[0-?]*[ -/]*[@-~]|\u001b[@-_]/g, "")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
}
