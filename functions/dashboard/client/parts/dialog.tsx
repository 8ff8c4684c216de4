import {
  createPortal,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  type PropsWithChildren,
} from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

/**
 * A modal dialog: Escape and the close button call `onClose`, and focus returns to where it was. It stands outside of the
 * view: a live view moves its parts about, and a dialog that is moved closes.
 */
export function Dialog({
  title,
  onClose,
  wide = false,
  children,
}: PropsWithChildren<{ title: string; onClose: () => void; wide?: boolean }>): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const before = useRef(document.activeElement);
  // At once, so that what is typed next goes into it.
  useLayoutEffect(() => element.current?.showModal(), []);
  useEffect(() => {
    const dialog = element.current;
    return () => {
      dialog?.close();
      const from = before.current;
      if (from instanceof HTMLElement && from.isConnected) from.focus();
    };
  }, []);
  const cancel = (event: Event): void => {
    event.preventDefault();
    onClose();
  };
  return createPortal(
    <dialog ref={element} class={wide ? "wide" : ""} aria-labelledby={heading} onCancel={cancel}>
      <h2 id={heading}>{title}</h2>
      {children}
      {/* Last, though it is shown first: a dialog's focus begins at what it is for. */}
      <button type="button" class="quiet close" aria-label="Close" onClick={onClose}>
        ✕
      </button>
    </dialog>,
    document.body,
  ) as unknown as JSX.Element;
}
