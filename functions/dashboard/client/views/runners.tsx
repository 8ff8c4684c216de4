import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { RunnerList } from "./runners/list.tsx";
import { RunnerPage } from "./runners/runner.tsx";

/** `rest` is what follows `/_signalbox/runners/`: a runner. */
export function Runners({ rest }: { rest: string[] }): JSX.Element {
  const [id] = rest;
  return id === undefined ? <RunnerList /> : <RunnerPage id={id} key={id} />;
}
