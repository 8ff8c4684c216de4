import type { Child } from "hono/jsx";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** Names and what they are. Rows with null are left out. */
export function Facts({ rows }: { rows: readonly (readonly [string, Child | null])[] }): JSX.Element {
  return (
    <dl class="facts">
      {rows
        .filter(([, value]) => value !== null)
        .map(([name, value]) => (
          <div>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
