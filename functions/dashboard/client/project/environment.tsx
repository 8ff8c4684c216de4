import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { EnvReceiver, ProjectEnv } from "../../../protocol/project-env.ts";
import { call } from "../api.ts";
import { useLive } from "../live.ts";
import { Button } from "../parts/button.tsx";
import { Confirm } from "../parts/confirm.tsx";
import { Empty } from "../parts/empty.tsx";
import { Field } from "../parts/field.tsx";
import { Loading } from "../parts/loading.tsx";
import { Since } from "../parts/since.tsx";
import { projectPath } from "./api.ts";

const RECEIVERS: Record<EnvReceiver, string> = {
  both: "dev server and agent",
  dev: "dev server and installs",
  agent: "agent",
  git: "login to the git remote",
};

/** Variables can be set and never read: only the runner has their values. */
export function Environment({ slug }: { slug: string }): JSX.Element {
  const env = useLive(`project:${slug}`, (signal) =>
    call<ProjectEnv>("GET", projectPath(slug, "env"), undefined, { signal }),
  );
  return (
    <>
      <Loading of={env} />
      {env.value?.variables.length === 0 && (
        <Empty
          title="No variables yet."
          command={`npx signalbox projects env set ${slug} NAME --secret < value.txt`}
        />
      )}
      {env.value !== undefined && env.value.variables.length > 0 && (
        <table>
          <thead>
            <tr>
              <th>Name</th>
              <th>For</th>
              <th>Set</th>
              <th>
                <span class="unseen">Change</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {env.value.variables.map(({ name, secret, for: receiver, updatedAt }) => (
              <tr key={name}>
                <td>
                  <code>{name}</code> {secret && <span class="quiet">secret</span>}
                </td>
                <td>{RECEIVERS[receiver]}</td>
                <td>
                  <Since at={updatedAt} /> ago
                </td>
                <td>
                  <Confirm
                    label="Unset"
                    title={`Unset ${name}?`}
                    says="What runs keeps it; what starts from then on doesn't get it. Its value can't be brought back."
                    kind="danger"
                    act={async () => {
                      await call("DELETE", projectPath(slug, "env", name));
                      env.reload();
                    }}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <NewVariable slug={slug} onSet={env.reload} />
    </>
  );
}

function NewVariable({ slug, onSet }: { slug: string; onSet: () => void }): JSX.Element {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const [secret, setSecret] = useState(true);
  const [receiver, setReceiver] = useState<EnvReceiver>("both");
  const set = async (): Promise<void> => {
    const variable = { name, value, secret, for: receiver };
    await call("PUT", projectPath(slug, "env"), { variables: [variable] });
    setName("");
    setValue("");
    onSet();
  };
  return (
    <form class="panel" onSubmit={(event: Event) => event.preventDefault()}>
      <h2>Set a variable</h2>
      <Field label="Name" value={name} onInput={setName} placeholder="STRIPE_KEY" />
      <Field
        label="Value"
        value={value}
        onInput={setValue}
        {...(secret ? { type: "password" as const } : { rows: 2 })}
        hint="Nothing shows it again."
      />
      <label class="check">
        <input
          type="checkbox"
          checked={secret}
          onChange={(event: Event) => setSecret((event.target as HTMLInputElement).checked)}
        />{" "}
        It is a secret: masked in logs, events and errors
      </label>
      <Field
        label="Who gets it"
        value={receiver}
        onInput={(chosen) => setReceiver(chosen as EnvReceiver)}
        options={Object.entries(RECEIVERS)}
      />
      <Button kind="main" act={set} disabled={name === ""}>
        Set
      </Button>
    </form>
  );
}
