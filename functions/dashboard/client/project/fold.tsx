import { useState, type Child } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** What isn't open isn't made. */
export function Fold({
  summary,
  isOpen = false,
  class: look = "",
  children,
}: {
  summary: Child;
  isOpen?: boolean;
  class?: string;
  children: () => JSX.Element | null;
}): JSX.Element {
  const [open, setOpen] = useState(isOpen);
  return (
    <details
      class={`fold ${look}`}
      open={open}
      onToggle={(event: Event) => setOpen((event.currentTarget as HTMLDetailsElement).open)}
    >
      <summary>{summary}</summary>
      {open && children()}
    </details>
  );
}
