import { useEffect, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { follow } from "../../api.ts";
import { Log, type LogLine } from "../../parts/log.tsx";
import { Problem } from "../../parts/problem.tsx";

/** Lines that a page keeps; older ones are in `signalbox logs`. */
const KEPT = 100_000;

/** What the build and the app write, as it happens. */
export function AppLog({ path }: { path: string }): JSX.Element {
  const [lines, setLines] = useState<LogLine[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [over, setOver] = useState(false);
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    follow(
      `${path}/logs?follow=1`,
      ({ data }) => {
        const page = JSON.parse(data) as { lines: LogLine[]; truncated: boolean };
        const cut: LogLine[] = page.truncated
          ? [{ text: "… older lines weren't kept", stream: "system" }]
          : [];
        setLines((before) => [...before, ...cut, ...page.lines].slice(-KEPT));
      },
      { signal },
    ).then(() => setOver(!signal.aborted), setError);
    return () => controller.abort();
  }, [path]);
  return (
    <>
      <Problem error={error} />
      {lines.length > 0 ? (
        <Log lines={lines} label="What the app writes" />
      ) : (
        error === null && <p class="quiet">{over ? "It wrote nothing that was kept." : "Nothing yet."}</p>
      )}
    </>
  );
}
