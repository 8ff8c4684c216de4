import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App, Deployment } from "../../api-types.ts";
import { useWatch } from "../../live.ts";
import { Dot, type Tone } from "../../parts/dot.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Since, Until } from "../../parts/since.tsx";
import { Link } from "../../router.tsx";
import { whereOf } from "../../words.ts";
import { Actions } from "./actions.tsx";
import { deployCommand } from "./commands.ts";

/** Who is on a version now, as the server sees it every 2 s. */
export interface Sessions {
  id: string;
  sessions: number | null;
  why: string | null;
}

export const TONES: Record<Deployment["state"], Tone> = {
  active: "good",
  pending: "busy",
  ready: "good",
  draining: "busy",
  failed: "bad",
  removed: "off",
};

/** The order in which a visitor's way goes: what gets new ones, what waits, what is left, what is over. */
const ORDER: Record<Deployment["state"], number> = {
  active: 0,
  ready: 1,
  pending: 2,
  draining: 3,
  failed: 4,
  removed: 5,
};

export function Deployments({ app }: { app: App }): JSX.Element {
  const seen = useWatch<{ deployments: Sessions[] }>(`app:${app.name}`);
  const [all, setAll] = useState(false);
  const rank = ({ id, state }: Deployment): number => (id === app.canary?.id ? 0.5 : ORDER[state]);
  const sorted = app.deployments.toSorted(
    (one, other) => rank(one) - rank(other) || other.sequence - one.sequence,
  );
  const isOver = ({ state }: Deployment): boolean => state === "removed" || state === "failed";
  const alive = sorted.filter((one) => !isOver(one));
  const over = sorted.filter(isOver);
  if (app.deployments.length === 0) {
    return (
      <Empty title="Nothing is deployed yet." command={deployCommand(app.name)}>
        <p class="quiet">
          Run this where its source is, or{" "}
          <Link to={["apps", app.name, "new"]}>roll out an address or an image</Link>.
        </p>
      </Empty>
    );
  }
  return (
    <>
      <ul class="track" aria-label="Deployments that are alive">
        {alive.map((deployment) => (
          <Version
            app={app}
            deployment={deployment}
            sessions={seen?.deployments.find(({ id }) => id === deployment.id)}
            key={deployment.id}
          />
        ))}
      </ul>
      {over.length > 0 && (
        <button
          type="button"
          class="quiet"
          aria-expanded={all ? "true" : "false"}
          onClick={() => setAll(!all)}
        >
          {all ? "Hide" : "Show"} {over.length} that {over.length === 1 ? "is" : "are"} over
        </button>
      )}
      {all && (
        <ul class="track" aria-label="Deployments that are over">
          {over.map((deployment) => (
            <Version app={app} deployment={deployment} sessions={undefined} key={deployment.id} />
          ))}
        </ul>
      )}
    </>
  );
}

function Version({
  app,
  deployment,
  sessions,
}: {
  app: App;
  deployment: Deployment;
  sessions: Sessions | undefined;
}): JSX.Element {
  const { id, state } = deployment;
  const share = shareOf(app, id);
  return (
    <li class={`version ${state} ${id === app.canary?.id ? "canary" : ""}`}>
      <div class="what">
        <h3>
          <Dot tone={TONES[state]} label={state} />{" "}
          <Link to={["apps", app.name, "deployments", id]}>{id}</Link>{" "}
          <span class={`state ${state}`}>{id === app.canary?.id ? "canary" : state}</span>
          {id === app.minimum && <span class="state">minimum</span>}
          {id === app.previous?.id && <span class="state">previous</span>}
        </h3>
        <p class="quiet">
          {whereOf(deployment.target)} · for <Since at={deployment.stateSince} />
          {deployment.redeploying && " · is being built again"}
        </p>
      </div>
      <div class="how">
        {share !== null && (
          <label>
            {share} % of new visitors
            <Bar part={share} of={100} />
          </label>
        )}
        <Left app={app} deployment={deployment} sessions={sessions} />
        {deployment.failure !== null && <p class="bad">{deployment.failure.reason}</p>}
      </div>
      <Actions app={app} deployment={deployment} />
    </li>
  );
}

/** Who is still there, and what happens when. */
function Left({
  app,
  deployment,
  sessions,
}: {
  app: App;
  deployment: Deployment;
  sessions: Sessions | undefined;
}): JSX.Element | null {
  const { state, retirement, drainDeadline } = deployment;
  const open =
    sessions === undefined
      ? null
      : sessions.sessions === null
        ? `open pages: not known (${sessions.why ?? "no answer"})`
        : sessions.sessions === 1
          ? "1 open page"
          : `${sessions.sessions} open pages`;
  if (state === "active" || (state === "ready" && open !== null)) return open === null ? null : <p>{open}</p>;
  if (state !== "draining") return null;
  if (retirement !== null) {
    return (
      <p>
        {retirement.unroutedAt !== null
          ? "Takes no more requests; its backend is being deleted."
          : retirement.reloadedAt !== null
            ? `${retirement.reloadedSockets ?? "Its"} pages were told to reload.`
            : "Its pages are about to be told to reload."}{" "}
        ({retirement.reason})
      </p>
    );
  }
  return (
    <>
      <p>
        {open ?? "draining"}
        {drainDeadline !== null && (
          <>
            {" · "}reloads at the latest in <Until at={drainDeadline} />
          </>
        )}
      </p>
      {drainDeadline !== null && (
        <label>
          <span class="unseen">Time of the drain that is over</span>
          <Drained from={Date.parse(deployment.stateSince)} until={Date.parse(drainDeadline)} />
        </label>
      )}
      {app.previous?.id === deployment.id && Date.parse(app.previous.retainUntil) > Date.now() && (
        <p class="quiet">
          kept for a rollback for <Until at={app.previous.retainUntil} />
        </p>
      )}
    </>
  );
}

function shareOf(app: App, id: string): number | null {
  const canary = app.canary?.weight ?? 0;
  if (id === app.canary?.id) return canary;
  return id === app.active ? 100 - canary : null;
}

function Bar({ part, of }: { part: number; of: number }): JSX.Element {
  return <progress value={part} max={of}></progress>;
}

function Drained({ from, until }: { from: number; until: number }): JSX.Element {
  const bar = useRef<HTMLProgressElement>(null);
  useEffect(() => {
    const draw = (): void => {
      if (bar.current !== null)
        bar.current.value = Math.min(1, (Date.now() - from) / Math.max(1, until - from));
    };
    draw();
    const timer = setInterval(draw, 1_000);
    return () => clearInterval(timer);
  }, [from, until]);
  return <progress class="drain" ref={bar} max={1} value={0}></progress>;
}
