import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { ApiProblem } from "../api.ts";

/** What went wrong, where it was asked for. Nothing for null. */
export function Problem({ error }: { error: unknown }): JSX.Element | null {
  if (error === null || error === undefined) return null;
  const fields = error instanceof ApiProblem ? error.fields : [];
  return (
    <div class="problem" role="alert">
      <p>{error instanceof Error ? error.message : "That didn't work."}</p>
      {fields.length > 0 && (
        <ul>
          {fields.map(({ field, message }) => (
            <li>
              <code>{field}</code> {message}
            </li>
          ))}
        </ul>
      )}
      {error instanceof ApiProblem && <small>{error.code}</small>}
    </div>
  );
}
