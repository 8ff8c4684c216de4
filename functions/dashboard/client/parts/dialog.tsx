import { useEffect, useId, useRef, type PropsWithChildren } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** A modal dialog: Escape and the close button call `onClose`, and focus returns to where it was. */
export function Dialog({
  title,
  onClose,
  wide = false,
  children,
}: PropsWithChildren<{ title: string; onClose: () => void; wide?: boolean }>): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (dialog !== null && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const cancel = (event: Event): void => {
    event.preventDefault();
    onClose();
  };
  return (
    <dialog ref={element} class={wide ? "wide" : ""} aria-labelledby={heading} onCancel={cancel}>
      <header>
        <h2 id={heading}>{title}</h2>
        <button type="button" class="quiet close" aria-label="Close" onClick={onClose}>
          ✕
        </button>
      </header>
      {children}
    </dialog>
  );
}
