import type { JSX } from "hono/jsx/dom/jsx-runtime";

/** `rest` is what follows `/_signalbox/projects/`. */
export function Projects({ rest }: { rest: string[] }): JSX.Element {
  return <h1>Projects {rest.join(" ")}</h1>;
}
