import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App } from "../../api-types.ts";
import { call } from "../../api.ts";
import { useDraft } from "../../draft.ts";
import { useLive } from "../../live.ts";
import { Confirm } from "../../parts/confirm.tsx";
import { Dot, type Tone } from "../../parts/dot.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Field } from "../../parts/field.tsx";
import { Loading } from "../../parts/loading.tsx";
import { Since } from "../../parts/since.tsx";
import { Link, navigate } from "../../router.tsx";
import { deployCommand } from "./commands.ts";

/** Enough to find something by eye; beyond, the list is searched. */
const SHOWN = 50;
const PAGE = 500;

export function AppList(): JSX.Element {
  const apps = useLive("app:*", loadApps);
  const [search, setSearch] = useState("");
  const [shown, setShown] = useState(SHOWN);
  const found = (apps.value ?? []).filter(({ name, hosts }) =>
    [name, ...hosts].some((text) => text.includes(search.trim().toLowerCase())),
  );
  return (
    <>
      <div class="row apart">
        <h1>Apps</h1>
        <NewApp />
      </div>
      <Loading of={apps} />
      {apps.value?.length === 0 && (
        <Empty title="No app yet. Deploy a directory, and its app is made:" command={deployCommand("my-app")}>
          <p class="quiet">Run it where the app's source is.</p>
        </Empty>
      )}
      {(apps.value?.length ?? 0) > 8 && (
        <Field
          label="Find an app"
          type="search"
          value={search}
          onInput={setSearch}
          placeholder="name or host"
        />
      )}
      <div class="cards">
        {found.slice(0, shown).map((app) => (
          <AppCard app={app} key={app.name} />
        ))}
      </div>
      {found.length > shown && (
        <button type="button" onClick={() => setShown(shown + SHOWN)}>
          Show {Math.min(SHOWN, found.length - shown)} of {found.length - shown} more
        </button>
      )}
    </>
  );
}

/** All of them: a page of the API holds 500. */
export async function loadApps(signal?: AbortSignal): Promise<App[]> {
  const all: App[] = [];
  for (;;) {
    const after = all.at(-1)?.name;
    const query = `?limit=${PAGE}${after === undefined ? "" : `&after=${encodeURIComponent(after)}`}`;
    const options = signal === undefined ? {} : { signal };
    const { apps } = await call<{ apps: App[] }>("GET", `/apps${query}`, undefined, options);
    all.push(...apps);
    if (apps.length < PAGE) return all;
  }
}

function AppCard({ app }: { app: App }): JSX.Element {
  const active = app.deployments.find(({ id }) => id === app.active);
  const count = (state: string): number => app.deployments.filter((one) => one.state === state).length;
  const [tone, words] = toneOf(app);
  const facts = [
    [count("pending"), "rolling out"],
    [count("ready"), "ready"],
    [count("draining"), "draining"],
    [count("failed"), "failed"],
  ] as const;
  return (
    <section class="panel card">
      <h2>
        <Dot tone={tone} label={words} /> <Link to={["apps", app.name]}>{app.name}</Link>
      </h2>
      <p>
        {active === undefined ? (
          <span class="quiet">{app.deleting ? "being deleted" : "nothing deployed"}</span>
        ) : (
          <>
            <strong>{active.id}</strong>{" "}
            <span class="quiet">
              active for <Since at={active.stateSince} />
            </span>
          </>
        )}
        {app.canary !== null && ` · canary ${app.canary.id} ${app.canary.weight} %`}
        {app.paused !== null && <span class="bad"> · paused</span>}
      </p>
      <p class="quiet">
        {facts
          .filter(([number]) => number > 0)
          .map(([number, what]) => `${number} ${what}`)
          .join(" · ") ||
          (app.hosts[0] ?? (app.default ? "any host that no app has" : ""))}
      </p>
    </section>
  );
}

function toneOf(app: App): [Tone, string] {
  if (app.paused !== null) return ["bad", "paused"];
  if (app.active === null) return ["off", "nothing active"];
  if (app.deployments.some(({ state }) => state === "pending")) return ["busy", "rolling out"];
  return ["good", "active"];
}

function NewApp(): JSX.Element {
  const [name, setName] = useDraft("new-app");
  const create = async (): Promise<void> => {
    await call("PUT", `/apps/${encodeURIComponent(name)}`, {});
    setName("");
    navigate("apps", name);
  };
  return (
    <Confirm
      label="New app"
      title="New app"
      says="Makes an app with nothing deployed. Nobody reaches anything new by it."
      act={create}
    >
      <Field
        label="Name"
        value={name}
        onInput={setName}
        hint="Lower-case letters, digits and hyphens"
        required
      />
    </Confirm>
  );
}
