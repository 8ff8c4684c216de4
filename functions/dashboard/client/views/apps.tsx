import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { AppView } from "./apps/app.tsx";
import { DeploymentView } from "./apps/deployment.tsx";
import { AppList } from "./apps/list.tsx";

/** `rest` is what follows `/_signalbox/apps/`: an app, then one of its tabs or one of its deployments. */
export function Apps({ rest }: { rest: string[] }): JSX.Element {
  const [app, tab, id] = rest;
  if (app === undefined) return <AppList />;
  if (tab === "deployments" && id !== undefined)
    return <DeploymentView app={app} id={id} key={`${app}/${id}`} />;
  return <AppView name={app} tab={tab ?? "deployments"} key={app} />;
}
