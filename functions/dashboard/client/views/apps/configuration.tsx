import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App } from "../../api-types.ts";
import { ApiProblem, call } from "../../api.ts";
import { useDraft } from "../../draft.ts";
import { Confirm } from "../../parts/confirm.tsx";
import { Field } from "../../parts/field.tsx";
import { navigate } from "../../router.tsx";
import { liveDeployments } from "../../words.ts";
import { appPath } from "./path.ts";

type Config = Pick<
  App,
  | "hosts"
  | "default"
  | "contract"
  | "paths"
  | "healthPath"
  | "drainTtlSeconds"
  | "previousRetentionSeconds"
  | "readyTtlSeconds"
  | "verifyTimeoutSeconds"
  | "reloadGraceSeconds"
  | "stickiness"
  | "visitIdleSeconds"
>;

const TIMES = [
  ["drainTtlSeconds", "Longest drain", "An older version whose pages are still open is deleted after this"],
  [
    "previousRetentionSeconds",
    "Kept for a rollback",
    "The previous version stays this long, even with nobody on it",
  ],
  ["reloadGraceSeconds", "Grace of a reload", "From telling pages to reload to cutting them off"],
  ["verifyTimeoutSeconds", "Longest verification", "A new version that doesn't answer by then has failed"],
  [
    "readyTtlSeconds",
    "Longest wait for a promote",
    "A ready version that nobody promotes is deleted after this",
  ],
  ["visitIdleSeconds", "A visit ends after", "With stickiness by visitor: this long after the last page"],
] as const;

const CONTRACTS = [
  ["auto", "Find out for each version"],
  ["edge", "Edge: the app is any HTTP server"],
  ["pulse", "Pulse: the app counts its sessions itself"],
  ["none", "None: a pure pipe"],
] as const;

const STICKINESS = [
  ["page", "Page: what a page asks for reaches its version"],
  ["visitor", "Visitor: the next page, too"],
  ["off", "Off: only pins count"],
] as const;

export function Configuration({ app }: { app: App }): JSX.Element {
  const stored = configOf(app);
  const [draft, setDraft] = useDraft(`config:${app.name}`);
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  const config: Config = draft === "" ? stored : { ...stored, ...(JSON.parse(draft) as Partial<Config>) };
  const changed = (Object.keys(stored) as (keyof Config)[]).filter(
    (name) => JSON.stringify(config[name]) !== JSON.stringify(stored[name]),
  );
  const set = (part: Partial<Config>): void => setDraft(JSON.stringify({ ...config, ...part }));
  const errorOf = (name: string): string | undefined =>
    problem?.fields.find(({ field }) => field === name || field.startsWith(`${name}.`))?.message;
  const save = async (): Promise<void> => {
    try {
      const hosts = config.hosts.map((host) => host.trim()).filter((host) => host !== "");
      await call("PUT", appPath(app.name), { ...config, hosts });
      setProblem(null);
      setDraft("");
    } catch (error) {
      if (error instanceof ApiProblem) setProblem(error);
      throw error;
    }
  };
  return (
    <>
      <div class="two">
        <section class="panel">
          <h2>Visitors</h2>
          <Field
            label="Hosts"
            rows={3}
            value={config.hosts.join("\n")}
            onInput={(value) => set({ hosts: value === "" ? [] : value.split("\n") })}
            hint="One a line: requests for them go to this app"
            error={errorOf("hosts")}
          />
          <label class="check">
            <input
              type="checkbox"
              checked={config.default}
              onChange={(event: Event) => set({ default: (event.target as HTMLInputElement).checked })}
            />{" "}
            Every host that no app has leads here
          </label>
          <Field
            label="Stickiness"
            value={config.stickiness}
            onInput={(value) => set({ stickiness: value as Config["stickiness"] })}
            options={STICKINESS}
          />
          <Field
            label="Contract"
            value={config.contract}
            onInput={(value) => set({ contract: value as Config["contract"] })}
            options={CONTRACTS}
          />
          <Field
            label="Path of the health check"
            value={config.healthPath}
            onInput={(healthPath) => set({ healthPath })}
            error={errorOf("healthPath")}
          />
          <details>
            <summary>Paths of the Pulse contract</summary>
            {(Object.keys(config.paths) as (keyof Config["paths"])[]).map((name) => (
              <Field
                label={name}
                value={config.paths[name]}
                onInput={(value) => set({ paths: { ...config.paths, [name]: value } })}
                error={errorOf(`paths.${name}`)}
                key={name}
              />
            ))}
          </details>
        </section>
        <section class="panel">
          <h2>Times, in seconds</h2>
          {TIMES.map(([name, label, hint]) => (
            <Field
              label={label}
              type="number"
              value={String(config[name])}
              onInput={(value) => set({ [name]: Number(value) })}
              hint={hint}
              error={errorOf(name)}
              key={name}
            />
          ))}
        </section>
      </div>
      <div class="row apart">
        <DeleteApp app={app} />
        <div class="row">
          {changed.length > 0 && (
            <button type="button" class="quiet" onClick={() => setDraft("")}>
              Discard
            </button>
          )}
          <Confirm
            label="Save"
            kind="main"
            title="Change the configuration?"
            says={`Changes ${changed.join(", ")} of ${app.name}. It counts for new requests within seconds, and for drains that begin from now on.`}
            act={save}
            disabled={changed.length === 0}
          />
        </div>
      </div>
    </>
  );
}

function configOf(app: App): Config {
  return {
    hosts: app.hosts,
    default: app.default,
    contract: app.contract,
    paths: app.paths,
    healthPath: app.healthPath,
    drainTtlSeconds: app.drainTtlSeconds,
    previousRetentionSeconds: app.previousRetentionSeconds,
    readyTtlSeconds: app.readyTtlSeconds,
    verifyTimeoutSeconds: app.verifyTimeoutSeconds,
    reloadGraceSeconds: app.reloadGraceSeconds,
    stickiness: app.stickiness,
    visitIdleSeconds: app.visitIdleSeconds,
  };
}

function DeleteApp({ app }: { app: App }): JSX.Element {
  const remove = async (): Promise<void> => {
    await call("DELETE", appPath(app.name));
    navigate("apps");
  };
  return (
    <Confirm
      label="Delete this app"
      kind="danger"
      title={`Delete ${app.name}?`}
      says={`New visitors find nothing at its hosts any more. All ${liveDeployments(app).length} versions that are alive are deleted: their pages are told to reload. That can't be undone.`}
      act={remove}
      disabled={app.deleting}
    />
  );
}
