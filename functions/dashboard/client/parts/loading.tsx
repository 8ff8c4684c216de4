import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { Live } from "../live.ts";
import { Problem } from "./problem.tsx";
import { Since } from "./since.tsx";

/** Above what `useLive` gave: that it loads, that it failed, or since when it is old. Nothing while all is well. */
export function Loading({
  of,
}: {
  of: Pick<Live<unknown>, "value" | "problem" | "staleSince">;
}): JSX.Element | null {
  if (of.problem !== null) {
    return (
      <>
        <Problem error={of.problem} />
        {of.value !== undefined && of.staleSince !== null && (
          <p class="quiet">
            What you see is <Since at={of.staleSince} /> old.
          </p>
        )}
      </>
    );
  }
  return of.value === undefined ? (
    <p class="quiet" role="status">
      Loading…
    </p>
  ) : null;
}
