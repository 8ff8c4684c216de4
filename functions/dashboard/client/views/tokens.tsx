import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** `rest` is what follows `/_signalbox/tokens/`. */
export function Tokens({ rest }: { rest: string[] }): JSX.Element {
  return <h1>Tokens {rest.join(" ")}</h1>;
}
