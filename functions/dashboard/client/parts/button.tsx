import { useState, type PropsWithChildren } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { Problem } from "./problem.tsx";

export interface ButtonProps {
  /** What a press does. Until a promise settles the button is busy; what it throws is shown below. */
  act: () => unknown;
  kind?: "plain" | "main" | "danger" | "quiet";
  disabled?: boolean;
  /** For a button that shows no words. */
  label?: string;
  class?: string;
}

export function Button({
  act,
  kind = "plain",
  disabled = false,
  label,
  class: more = "",
  children,
}: PropsWithChildren<ButtonProps>): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const press = async (): Promise<void> => {
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      await act();
    } catch (thrown) {
      setError(thrown);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button
        type="button"
        class={`${kind} ${more}`}
        disabled={disabled}
        aria-busy={busy ? "true" : undefined}
        aria-label={label}
        onClick={() => void press()}
      >
        {children}
      </button>
      <Problem error={error} />
    </>
  );
}
