import { useState, type PropsWithChildren } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { Button } from "./button.tsx";
import { Dialog } from "./dialog.tsx";

export interface ConfirmProps {
  /** The words on both buttons: `Promote`. */
  label: string;
  /** `Promote v2?` */
  title: string;
  /** What will happen, in one sentence. */
  says: string;
  act: () => unknown;
  kind?: "plain" | "main" | "danger" | "quiet";
  disabled?: boolean;
}

/** A button that says what it will do, asks, and does it. Children are what the operator chooses before. */
export function Confirm({
  label,
  title,
  says,
  act,
  kind = "plain",
  disabled = false,
  children,
}: PropsWithChildren<ConfirmProps>): JSX.Element {
  const [open, setOpen] = useState(false);
  const go = async (): Promise<void> => {
    await act();
    setOpen(false);
  };
  return (
    <>
      <button type="button" class={kind} disabled={disabled} onClick={() => setOpen(true)}>
        {label}
      </button>
      {open && (
        <Dialog title={title} onClose={() => setOpen(false)}>
          <p>{says}</p>
          {children}
          <div class="row end">
            <Button kind="quiet" act={() => setOpen(false)}>
              Cancel
            </Button>
            <Button kind={kind === "danger" ? "danger" : "main"} act={go}>
              {label}
            </Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
