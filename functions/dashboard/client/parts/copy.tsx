import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** A command or secret, with a button that copies it. */
export function Copy({ text, label = "Copy" }: { text: string; label?: string }): JSX.Element {
  const [said, setSaid] = useState("");
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied");
    } catch {
      setSaid("Select it and copy"); // the browser allows it over HTTPS and on localhost only
    }
    setTimeout(() => setSaid(""), 2_000);
  };
  return (
    <div class="copy">
      <pre tabIndex={0}>{text}</pre>
      <button type="button" class="quiet" onClick={() => void copy()} aria-live="polite">
        {said === "" ? label : said}
      </button>
    </div>
  );
}
