import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { JanitorReport } from "../api-types.ts";
import { call } from "../api.ts";
import { useLive } from "../live.ts";
import { Button } from "../parts/button.tsx";
import { Confirm } from "../parts/confirm.tsx";
import { Dot } from "../parts/dot.tsx";
import { Empty } from "../parts/empty.tsx";
import { Loading } from "../parts/loading.tsx";
import { Since } from "../parts/since.tsx";
import { Link } from "../router.tsx";

interface LastRun {
  stale: boolean;
  report: JanitorReport | null;
}

/** Decisions in words. */
const REASONS: Record<string, string> = {
  deadline_passed: "its drain took too long",
  no_sessions: "nobody is on it",
  live_sessions: "somebody is on it",
  sessions_unknown: "who is on it isn't known",
  kept_for_rollback: "it is kept for a rollback",
  already_retiring: "it is being deleted already",
  no_longer_draining: "it no longer drains",
  orphaned_service: "no deployment has this service",
  orphan_too_young: "too young to be an orphan",
  orphan_unproven: "nothing proves that it is ours",
  orphan_next_run: "it goes in the next run",
  orphan_changed: "it has changed since",
};

export function Janitor(): JSX.Element {
  const last = useLive("janitor", (signal) => call<LastRun>("GET", "/janitor/last", undefined, { signal }));
  const [tried, setTried] = useState<JanitorReport | null>(null);
  const run = async (dryRun: boolean): Promise<void> => {
    const report = await call<JanitorReport>("POST", "/janitor/run", { dryRun });
    setTried(dryRun ? report : null);
    last.reload();
  };
  const { stale = false, report = null } = last.value ?? {};
  return (
    <>
      <div class="row apart">
        <h1>Janitor</h1>
        <div class="row">
          <Button act={() => run(true)}>Dry run</Button>
          <Confirm
            label="Run now"
            kind="main"
            title="Run the janitor now?"
            says="Looks at every version that drains, and deletes those that nobody is on or whose time is up. It does so by itself every minute."
            act={() => run(false)}
          />
        </div>
      </div>
      <p class="quiet">
        Deletes what has drained, every minute. Without evidence that nobody is there, it keeps.
      </p>
      <Loading of={last} />
      {last.value !== undefined && (
        <p>
          <Dot tone={stale ? "bad" : report === null ? "off" : "good"} label={stale ? "stale" : "on time"} />{" "}
          {report === null ? (
            "It has not run yet."
          ) : (
            <>
              Ran <Since at={report.finishedAt} /> ago.
            </>
          )}{" "}
          {stale && report !== null && <span class="bad">That is too long: check the cron trigger.</span>}
        </p>
      )}
      {tried !== null && (
        <section class="panel">
          <h2>Dry run: what it would do</h2>
          <Report report={tried} />
        </section>
      )}
      {report !== null && (
        <section class="panel">
          <h2>Last run</h2>
          <Report report={report} />
        </section>
      )}
    </>
  );
}

function Report({ report }: { report: JanitorReport }): JSX.Element {
  if (report.outcome !== "completed") {
    return (
      <p>
        {report.outcome === "lease_held"
          ? "Another run was at work, so this one did nothing."
          : "It was interrupted; the next run goes on."}
      </p>
    );
  }
  return (
    <>
      {report.errors.map(({ app, message }) => (
        <p class="problem">
          {app === "*" ? "" : `${app}: `}
          {message}
        </p>
      ))}
      {report.decisions.length === 0 ? (
        <Empty title="Nothing drains, so there was nothing to decide." />
      ) : (
        <div class="wide">
          <table>
            <thead>
              <tr>
                <th>Version</th>
                <th>Decision</th>
                <th>Why</th>
              </tr>
            </thead>
            <tbody>
              {report.decisions.map(({ app, deployment, action, reason, detail }) => (
                <tr>
                  <td>
                    <Link to={["apps", app]}>{app}</Link> {deployment}
                  </td>
                  <td>
                    <span class={`state ${action === "delete" ? "draining" : ""}`}>{action}</span>
                  </td>
                  <td>
                    {REASONS[reason] ?? reason} <span class="quiet">{detail}</span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
