import type { PropsWithChildren } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { Copy } from "./copy.tsx";

/** An empty list: what it would hold, and the exact command that fills it. */
export function Empty({
  title,
  command,
  children,
}: PropsWithChildren<{ title: string; command?: string }>): JSX.Element {
  return (
    <div class="empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children}
      {command !== undefined && <Copy text={command} />}
    </div>
  );
}
