import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App } from "../../api-types.ts";
import { call } from "../../api.ts";
import { useLive } from "../../live.ts";
import { Loading } from "../../parts/loading.tsx";
import { Since } from "../../parts/since.tsx";
import { Tabs } from "../../parts/tabs.tsx";
import { addressesOf } from "../../places.ts";
import { navigate } from "../../router.tsx";
import { AuditList } from "../audit.tsx";
import { Configuration } from "./configuration.tsx";
import { Deployments } from "./deployments.tsx";
import { NewDeployment } from "./new-deployment.tsx";
import { appPath } from "./path.ts";
import { PauseOrResume } from "./pause.tsx";
import { RollBack } from "./actions.tsx";

const TABS = [
  ["deployments", "Deployments"],
  ["new", "Roll out"],
  ["configuration", "Configuration"],
  ["audit", "Audit"],
] as const;

/** One app: what is alive of it, and what can be done. */
export function AppView({ name, tab }: { name: string; tab: string }): JSX.Element {
  const app = useLive(`app:${name}`, (signal) => call<App>("GET", appPath(name), undefined, { signal }));
  return (
    <>
      <div class="row apart">
        <h1>{name}</h1>
        {app.value !== undefined && (
          <div class="row">
            <RollBack app={app.value} />
            <PauseOrResume app={app.value} />
          </div>
        )}
      </div>
      <Loading of={app} />
      {app.value !== undefined && (
        <>
          <Addresses app={app.value} />
          {app.value.paused !== null && (
            <p class="problem">
              Paused for <Since at={app.value.paused.since} />:{" "}
              {app.value.paused.mode === "hold" ? "requests wait." : "requests are refused."}{" "}
              {app.value.paused.message}
            </p>
          )}
          {app.value.deleting && <p class="problem">This app is being deleted.</p>}
          <Tabs label={name} tabs={TABS} chosen={tab} onChoose={(next) => navigate("apps", name, next)} />
          <div role="tabpanel" aria-labelledby={`tab-${tab}`}>
            <Panel app={app.value} tab={tab} />
          </div>
        </>
      )}
    </>
  );
}

function Panel({ app, tab }: { app: App; tab: string }): JSX.Element {
  switch (tab) {
    case "new":
      return <NewDeployment app={app} />;
    case "configuration":
      return <Configuration app={app} />;
    case "audit":
      return <AuditList app={app.name} />;
    default:
      return <Deployments app={app} />;
  }
}

function Addresses({ app }: { app: App }): JSX.Element {
  const addresses = addressesOf(app);
  return (
    <p class="quiet">
      {addresses.length === 0 && !app.default && "No host leads here: add one in its configuration."}
      {addresses.map((address, index) => (
        <>
          {index > 0 && " · "}
          <a href={address} target="_blank" rel="noreferrer">
            {address.replace(/\/$/, "")}
          </a>
        </>
      ))}
      {app.default && `${addresses.length > 0 ? " · " : ""}every host that no app has`}
    </p>
  );
}
