import { useEffect, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { AgentView, RunnerAgents } from "../../../protocol/agents.ts";
import { call } from "../api.ts";
import { Field } from "../parts/field.tsx";
import { visible } from "./ansi.ts";

/** Runners that are asked at once. */
const RUNNERS_ASKED = 10;

export interface AgentsOf {
  runnerId: string;
  agents: AgentView[];
}

/** What each runner says of its agents; one that can't be asked is left out. */
export function useAgents(runnerIds: readonly string[]): AgentsOf[] {
  const [found, setFound] = useState<AgentsOf[]>([]);
  const asked = runnerIds.slice(0, RUNNERS_ASKED);
  useEffect(() => {
    let isLeft = false;
    const ask = async (runnerId: string): Promise<AgentsOf | null> => {
      const path = `/runners/${encodeURIComponent(runnerId)}/agents`;
      return call<RunnerAgents>("GET", path).then(
        ({ agents }) => ({ runnerId, agents }),
        () => null, // away, or an older one: it is offered by its name alone
      );
    };
    const askAll = async (): Promise<void> => {
      const all = await Promise.all(asked.map(ask));
      if (!isLeft) setFound(all.filter((one) => one !== null));
    };
    void askAll();
    return () => {
      isLeft = true;
    };
  }, [asked.join(" ")]);
  return found;
}

export interface AgentChoiceProps {
  runnerIds: readonly string[];
  value: string;
  onChoose: (agent: string) => void;
  /** What no choice means. */
  first: string;
}

/** The agents of some runners, and what the chosen one lacks on them. */
export function AgentChoice({ runnerIds, value, onChoose, first }: AgentChoiceProps): JSX.Element {
  const all = useAgents(runnerIds);
  const names = [...new Set(all.flatMap(({ agents }) => agents.map(({ name }) => name)))];
  const ready = (name: string): boolean =>
    all.some(({ agents }) => agents.some((one) => one.name === name && one.fault === null));
  const options: [string, string][] = [
    ["", first],
    ...names.map((name): [string, string] => [
      name,
      ready(name) ? visible(name) : `${visible(name)} (not ready)`,
    ]),
  ];
  if (value !== "" && !names.includes(value)) options.push([value, visible(value)]);
  const faults = all.flatMap(({ runnerId, agents }) =>
    agents.flatMap(({ name, fault }) => (name === value && fault !== null ? [{ runnerId, fault }] : [])),
  );
  return (
    <div class="agents">
      <Field label="Agent" value={value} onInput={onChoose} options={options} />
      {faults.map(({ runnerId, fault }) => (
        <small class="bad">
          {visible(runnerId)}: {visible(fault.missing)}. Mend it: <code>{visible(fault.remedy)}</code>
        </small>
      ))}
    </div>
  );
}
