import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App, DeploymentDetails } from "../../api-types.ts";
import { call } from "../../api.ts";
import { useLive } from "../../live.ts";
import { Dot } from "../../parts/dot.tsx";
import { Facts } from "../../parts/facts.tsx";
import { Loading } from "../../parts/loading.tsx";
import { Since } from "../../parts/since.tsx";
import { Tabs } from "../../parts/tabs.tsx";
import { addressOfDeployment } from "../../places.ts";
import { Link } from "../../router.tsx";
import { whereOf } from "../../words.ts";
import { Actions } from "./actions.tsx";
import { appPath } from "./path.ts";
import { AppLog } from "./app-log.tsx";
import { TONES } from "./deployments.tsx";
import { Rollout } from "./rollout.tsx";

const TABS = [
  ["rollout", "Rollout"],
  ["log", "Log"],
  ["facts", "Facts"],
] as const;

export function DeploymentView({ app, id }: { app: string; id: string }): JSX.Element {
  const path = appPath(app, `/deployments/${encodeURIComponent(id)}`);
  const [tab, setTab] = useState("rollout");
  const live = useLive(
    `app:${app}`,
    async (signal) => {
      const [whole, deployment] = await Promise.all([
        call<App>("GET", appPath(app), undefined, { signal }),
        call<DeploymentDetails>("GET", path, undefined, { signal }),
      ]);
      return { whole, deployment };
    },
    path,
  );
  const known = live.value;
  return (
    <>
      <p>
        <Link to={["apps", app]}>← {app}</Link>
      </p>
      <div class="row apart">
        <h1>
          {id}{" "}
          {known !== undefined && (
            <>
              <Dot tone={TONES[known.deployment.state]} label={known.deployment.state} />{" "}
              <span class={`state ${known.deployment.state}`}>{known.deployment.state}</span>
            </>
          )}
        </h1>
        {known !== undefined && <Actions app={known.whole} deployment={known.deployment} />}
      </div>
      <Loading of={live} />
      {known !== undefined && (
        <>
          {known.deployment.failure !== null && (
            <p class="problem">
              {known.deployment.failure.reason} <small>{known.deployment.failure.code}</small>
            </p>
          )}
          <Tabs label={id} tabs={TABS} chosen={tab} onChoose={setTab} />
          <div role="tabpanel" aria-labelledby={`tab-${tab}`}>
            {tab === "rollout" && <Rollout path={path} />}
            {tab === "log" && <AppLog path={path} />}
            {tab === "facts" && <DeploymentFacts app={app} deployment={known.deployment} />}
          </div>
        </>
      )}
    </>
  );
}

function DeploymentFacts({ app, deployment }: { app: string; deployment: DeploymentDetails }): JSX.Element {
  const { target, confinement } = deployment;
  const own = addressOfDeployment(app, deployment.id);
  return (
    <Facts
      rows={[
        ["Runs on", whereOf(target)],
        ["For", <Since at={deployment.stateSince} />],
        ["Made", <Since at={deployment.createdAt} />],
        ["Contract", deployment.contract ?? "not known before it is verified"],
        [
          "To look at it alone",
          own === null ? null : (
            <a href={own} target="_blank" rel="noreferrer">
              {own}
            </a>
          ),
        ],
        ["Start", target.kind === "url" ? null : (target.start ?? null)],
        ["Build", target.kind === "url" ? null : (target.build ?? null)],
        [
          "Confinement",
          confinement === null
            ? null
            : `${confinement.level}${confinement.why === null ? "" : `: ${confinement.why}`}`,
        ],
      ]}
    />
  );
}
