import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** `rest` is what follows `/_signalbox/janitor/`. */
export function Janitor({ rest }: { rest: string[] }): JSX.Element {
  return <h1>Janitor {rest.join(" ")}</h1>;
}
