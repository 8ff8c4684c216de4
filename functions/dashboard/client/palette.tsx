import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { Dialog } from "./parts/dialog.tsx";

/** ⌘K: everything by its name. */
export function Palette({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <Dialog title="Go to" onClose={onClose}>
      <p>Soon.</p>
    </Dialog>
  );
}
