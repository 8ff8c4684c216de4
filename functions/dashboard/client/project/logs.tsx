import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { HostedLogLine, HostedLogPage } from "../../../protocol/runner-api.ts";
import { follow } from "../api.ts";
import { Empty } from "../parts/empty.tsx";
import { Field } from "../parts/field.tsx";
import { Log, type LogLine } from "../parts/log.tsx";
import { Problem } from "../parts/problem.tsx";
import { ansiText } from "./ansi.ts";
import { projectPath } from "./api.ts";

/** More of it is in the runner's file; a page with as many is 100 MB. */
const LINES_KEPT = 200_000;
const REDRAW_MS = 100;
const STEPS = [
  ["", "Everything"],
  ["start", "Dev server"],
  ["install", "Install"],
  ["agent", "Agent"],
  ["git", "Git"],
] as const;

/** What installs, the dev server and agents wrote, as they write it. */
export function Logs({ slug }: { slug: string }): JSX.Element {
  const [step, setStep] = useState("");
  const [wanted, setWanted] = useState("");
  const { lines, isLive, problem } = useLog(slug, step);
  const shown = wanted === "" ? lines : lines.filter(({ text }) => text.includes(wanted));
  return (
    <div class="logs">
      <div class="row">
        <Field label="Written by" value={step} onInput={setStep} options={STEPS} />
        <Field label="Lines with" value={wanted} onInput={setWanted} type="search" />
      </div>
      <Problem error={problem} />
      {!isLive && (
        <p class="quiet" role="status">
          The log can't be followed just now. Trying again.
        </p>
      )}
      {lines.length === 0 && problem === null ? (
        <Empty title="Nothing was written yet." command={`npx signalbox dev start ${slug}`} />
      ) : (
        <Log key={`${step} ${wanted}`} lines={shown} label={`Log of ${slug}`} />
      )}
    </div>
  );
}

function useLog(slug: string, step: string): { lines: LogLine[]; isLive: boolean; problem: unknown } {
  const lines = useRef<LogLine[]>([]);
  const [state, setState] = useState<{ isLive: boolean; problem: unknown; drawn: number }>({
    isLive: true,
    problem: null,
    drawn: 0,
  });
  useEffect(() => {
    const all: LogLine[] = [];
    lines.current = all;
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const draw = (change: Partial<typeof state> = {}): void =>
      setState((before) => ({ ...before, ...change, drawn: before.drawn + 1 }));
    draw({ isLive: true, problem: null });
    const query = `?follow=1${step === "" ? "" : `&step=${step}`}`;
    follow(
      projectPath(slug, "logs") + query,
      ({ event, data }) => {
        if (event !== "log") return;
        const page = JSON.parse(data) as HostedLogPage;
        if (page.truncated) all.push({ text: "Lines before this were dropped.", stream: "system" });
        for (const line of page.lines) all.push(lineOf(line, step === ""));
        if (all.length > LINES_KEPT) all.splice(0, all.length - LINES_KEPT);
        timer ??= setTimeout(() => {
          timer = null;
          draw();
        }, REDRAW_MS);
      },
      { signal: controller.signal, onState: (link) => draw({ isLive: link === "open" }) },
    ).catch((problem: unknown) => draw({ problem }));
    return () => {
      controller.abort();
      if (timer !== null) clearTimeout(timer);
    };
  }, [slug, step]);
  return { lines: lines.current ?? [], isLive: state.isLive, problem: state.problem };
}

function lineOf({ text, stream, step }: HostedLogLine, isMixed: boolean): LogLine {
  const shown = ansiText(text);
  return { text: isMixed && step !== undefined ? `${step.padEnd(7)} ${shown}` : shown, stream };
}
