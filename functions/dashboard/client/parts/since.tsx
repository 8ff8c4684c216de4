import { useEffect, useRef } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

const shown = new Map<HTMLElement, () => string>();
let ticking: ReturnType<typeof setInterval> | null = null;

/** One timer for all of a page, which draws nothing but texts that changed. */
function tick(): void {
  if (document.hidden) return;
  for (const [element, text] of shown) {
    const next = text();
    if (element.textContent !== next) element.textContent = next;
  }
}

function useTicking(text: () => string): { current: HTMLElement | null } {
  const element = useRef<HTMLElement>(null);
  const latest = useRef(text);
  latest.current = text;
  useEffect(() => {
    const { current } = element;
    if (current === null) return;
    shown.set(current, () => latest.current?.() ?? "");
    current.textContent = latest.current?.() ?? "";
    ticking ??= setInterval(tick, 1_000);
    return () => {
      shown.delete(current);
      if (shown.size > 0 || ticking === null) return;
      clearInterval(ticking);
      ticking = null;
    };
  }, []);
  // A redraw with another time shows at once.
  if (element.current !== null) element.current.textContent = text();
  return element;
}

/** How long ago a time is: `4 min`. Takes an ISO time or epoch milliseconds. */
export function Since({ at }: { at: string | number }): JSX.Element {
  const time = typeof at === "number" ? at : Date.parse(at);
  const element = useTicking(() => duration(Date.now() - time));
  return (
    <time
      ref={element}
      dateTime={new Date(time).toISOString()}
      title={new Date(time).toLocaleString()}
    ></time>
  );
}

/** How long until a time is there. */
export function Until({ at }: { at: string | number }): JSX.Element {
  const time = typeof at === "number" ? at : Date.parse(at);
  const element = useTicking(() => duration(time - Date.now()));
  return (
    <time
      ref={element}
      dateTime={new Date(time).toISOString()}
      title={new Date(time).toLocaleString()}
    ></time>
  );
}

export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
