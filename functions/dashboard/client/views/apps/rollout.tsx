import { useEffect, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { follow, type ServerEvent } from "../../api.ts";
import { Dot, type Tone } from "../../parts/dot.tsx";
import { Log, type LogLine } from "../../parts/log.tsx";
import { Problem } from "../../parts/problem.tsx";
import { Since } from "../../parts/since.tsx";

interface Step {
  name: string;
  status: string;
  detail: string;
  at: string;
}

const TONES: Record<string, Tone> = { started: "busy", waiting: "busy", done: "good", failed: "bad" };
const STATES: Record<string, Tone> = {
  pending: "busy",
  ready: "good",
  active: "good",
  draining: "busy",
  failed: "bad",
  removed: "off",
};

/** What a rollout did, step by step, and what its build writes, as it happens. */
export function Rollout({ path }: { path: string }): JSX.Element {
  const [steps, setSteps] = useState<Step[]>([]);
  const [lines, setLines] = useState<LogLine[]>([]);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const log: LogLine[] = [];
    let drawn = false;
    const draw = (): void => {
      if (drawn) return;
      drawn = true;
      // A build may write a thousand lines between two frames.
      setTimeout(() => {
        drawn = false;
        if (!signal.aborted) setLines([...log]);
      }, 100);
    };
    const take = ({ event, data }: ServerEvent): void => {
      const fact = JSON.parse(data) as Record<string, string | null>;
      if (event === "log") {
        log.push({ text: fact["line"] ?? "" });
        draw();
        return;
      }
      const step = event === "step" ? fact["step"] : fact["state"];
      const next: Step = {
        name: step ?? "",
        status: event === "step" ? (fact["status"] ?? "") : "state",
        detail: fact["detail"] ?? fact["reason"] ?? "",
        at: fact["at"] ?? "",
      };
      setSteps((before) => {
        const last = before.at(-1);
        const isSame = last?.name === next.name && event === "step" && last.status !== "state";
        return isSame ? [...before.slice(0, -1), next] : [...before, next];
      });
    };
    follow(`${path}/events`, take, { signal }).catch(setError);
    return () => controller.abort();
  }, [path]);
  return (
    <>
      <Problem error={error} />
      <ol class="steps">
        {steps.map(({ name, status, detail, at }) => (
          <li>
            <Dot
              tone={status === "state" ? (STATES[name] ?? "off") : (TONES[status] ?? "off")}
              label={status === "state" ? "state" : status}
            />{" "}
            <strong>{name}</strong> {status !== "state" && status} <span class="quiet">{detail}</span>{" "}
            <small class="quiet">
              <Since at={at} /> ago
            </small>
          </li>
        ))}
      </ol>
      {lines.length > 0 && <Log lines={lines} label="What the build writes" />}
    </>
  );
}
