import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App } from "../api-types.ts";
import { call } from "../api.ts";
import { useLive } from "../live.ts";
import { Empty } from "../parts/empty.tsx";
import { Loading } from "../parts/loading.tsx";
import { Link } from "../router.tsx";

/** `rest` is what follows `/_signalbox/apps/`. */
export function Apps({ rest }: { rest: string[] }): JSX.Element {
  const apps = useLive("app:*", (signal) => call<{ apps: App[] }>("GET", "/apps", undefined, { signal }));
  return (
    <>
      <h1>Apps {rest.join(" ")}</h1>
      <Loading of={apps} />
      {apps.value?.apps.length === 0 && <Empty title="No app yet." command="npx signalbox deploy" />}
      {apps.value?.apps.map((app) => (
        <section class="panel" key={app.name}>
          <h2>
            <Link to={["apps", app.name]}>{app.name}</Link>
          </h2>
        </section>
      ))}
    </>
  );
}
