import { useRef } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** Tabs whose arrows move between them. The panel below is the caller's: `<div role="tabpanel" id="panel-NAME">`. */
export function Tabs({
  label,
  tabs,
  chosen,
  onChoose,
}: {
  label: string;
  /** `[name, words]` */
  tabs: readonly (readonly [string, string])[];
  chosen: string;
  onChoose: (name: string) => void;
}): JSX.Element {
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const at = tabs.findIndex(([name]) => name === chosen);
    const next = (at + step + tabs.length) % tabs.length;
    onChoose(tabs[next]?.[0] ?? chosen);
    list.current?.querySelectorAll("button")[next]?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={move}>
      {tabs.map(([name, words]) => (
        <button
          type="button"
          role="tab"
          id={`tab-${name}`}
          aria-selected={name === chosen ? "true" : "false"}
          tabIndex={name === chosen ? 0 : -1}
          onClick={() => onChoose(name)}
        >
          {words}
        </button>
      ))}
    </div>
  );
}
