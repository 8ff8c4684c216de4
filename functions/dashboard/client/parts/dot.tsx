import type { JSX } from "hono/jsx/dom/jsx-runtime";

export type Tone = "good" | "busy" | "bad" | "off";

/** A coloured dot, with what it means in words for who can't see it. */
export function Dot({ tone, label }: { tone: Tone; label: string }): JSX.Element {
  return <span class={`dot ${tone}`} role="img" aria-label={label} title={label}></span>;
}
