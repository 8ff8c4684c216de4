import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App, Deployment } from "../../api-types.ts";
import { call } from "../../api.ts";
import { Confirm } from "../../parts/confirm.tsx";
import { Field } from "../../parts/field.tsx";
import { deleteSays, minimumSays, promoteSays, redeploySays, rollbackSays, seconds } from "../../words.ts";
import { appPath } from "./path.ts";

/** What can be done with one deployment in its state, each with what it will do. */
export function Actions({ app, deployment }: { app: App; deployment: Deployment }): JSX.Element {
  const { id, state } = deployment;
  const path = appPath(app.name, `/deployments/${encodeURIComponent(id)}`);
  const isGoing = (deployment.retirement?.unroutedAt ?? null) !== null;
  const isChoice = (state === "ready" || state === "draining") && !isGoing;
  const isTooOld = (one: Deployment): boolean => one.sequence > deployment.sequence;
  return (
    <div class="row actions">
      {isChoice && (
        <Confirm
          label="Promote"
          kind="main"
          title={`Promote ${id}?`}
          says={promoteSays(app, id)}
          act={() => call("POST", `${path}/promote`)}
        />
      )}
      {isChoice && app.active !== null && <Canary app={app} id={id} />}
      {(isChoice || state === "active") && !deployment.redeploying && (
        <Confirm
          label="Redeploy"
          title={`Redeploy ${id}?`}
          says={redeploySays(id)}
          act={() => call("POST", `${path}/redeploy`)}
        />
      )}
      {state === "active" &&
        app.minimum !== id &&
        app.deployments.some((one) => !isTooOld(one) && one.id !== id) && (
          <Confirm
            label="Set as minimum"
            kind="danger"
            title={`Make ${id} the minimum version?`}
            says={minimumSays(id)}
            act={() => call("PUT", appPath(app.name, "/minimum"), { id })}
          />
        )}
      {app.minimum === id && (
        <Confirm
          label="Lift the minimum"
          title="Lift the minimum version?"
          says={`Versions older than ${id} that are still alive may be used again.`}
          act={() => call("PUT", appPath(app.name, "/minimum"), { id: null })}
        />
      )}
      {state !== "active" && state !== "removed" && deployment.retirement === null && (
        <Confirm
          label={state === "pending" ? "Stop" : "Delete"}
          kind="danger"
          title={`${state === "pending" ? "Stop" : "Delete"} ${id}?`}
          says={deleteSays(app, deployment)}
          act={() => call("DELETE", path)}
        />
      )}
    </div>
  );
}

function Canary({ app, id }: { app: App; id: string }): JSX.Element {
  const isCanary = app.canary?.id === id;
  const [weight, setWeight] = useState(String(isCanary ? app.canary?.weight : 10));
  const path = appPath(app.name, "/canary");
  return (
    <>
      <Confirm
        label={isCanary ? "Change its share" : "Canary"}
        title={`Send new visitors to ${id}?`}
        says={
          `${weight || 0} % of new visitors get ${id}, the others ${app.active ?? ""}. A visitor always gets the same one. ` +
          (app.canary !== null && !isCanary
            ? `${app.canary.id} stops being the canary; its open pages stay.`
            : "Open pages stay where they are.")
        }
        act={() => call("PUT", path, { id, weight: Number(weight) })}
      >
        <Field label="Share of new visitors, in percent" type="number" value={weight} onInput={setWeight} />
      </Confirm>
      {isCanary && (
        <Confirm
          label="End canary"
          title={`End the canary ${id}?`}
          says={`All new visitors get ${app.active ?? "the active version"}. ${id} stays ready, and its open pages stay on it.`}
          act={() => call("DELETE", path)}
        />
      )}
    </>
  );
}

export function RollBack({ app }: { app: App }): JSX.Element | null {
  const { previous } = app;
  if (previous === null || app.active === null) return null;
  const kept = Date.parse(previous.retainUntil) - Date.now();
  return (
    <Confirm
      label={`Roll back to ${previous.id}`}
      title={`Roll back to ${previous.id}?`}
      says={
        rollbackSays(app, previous.id) +
        (kept > 0 ? ` ${previous.id} is kept for this for another ${seconds(kept / 1_000)}.` : "")
      }
      act={() => call("POST", appPath(app.name, "/rollback"))}
    />
  );
}
