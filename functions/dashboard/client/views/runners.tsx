import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** `rest` is what follows `/_signalbox/runners/`. */
export function Runners({ rest }: { rest: string[] }): JSX.Element {
  return <h1>Runners {rest.join(" ")}</h1>;
}
