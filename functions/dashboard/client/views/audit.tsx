import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** `rest` is what follows `/_signalbox/audit/`. */
export function Audit({ rest }: { rest: string[] }): JSX.Element {
  return <h1>Audit {rest.join(" ")}</h1>;
}
