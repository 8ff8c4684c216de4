import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { call } from "../../api.ts";
import { useDraft } from "../../draft.ts";
import { Confirm } from "../../parts/confirm.tsx";
import { Copy } from "../../parts/copy.tsx";
import { Field } from "../../parts/field.tsx";
import { isLocal } from "../apps/commands.ts";
import { runnerPath } from "./load.ts";

/** Gives a name a secret of its own, and the command that starts a runner with it. */
export function AddRunner(): JSX.Element {
  const [id, setId] = useDraft("new-runner");
  const [command, setCommand] = useState("");
  const issue = async (): Promise<void> => {
    const { secret } = await call<{ secret: string }>("POST", runnerPath(id, "/credentials"));
    setCommand(commandOf(id, secret));
  };
  return (
    <section class="panel">
      <h2>Add a runner</h2>
      <p class="quiet">
        It dials out to Signalbox, so its machine needs no open port. It takes Node 22.13 or later.
      </p>
      <Field
        label="Its id"
        value={id}
        onInput={(value) => {
          setId(value);
          setCommand("");
        }}
        placeholder="laptop"
        hint="Letters, digits, dots, underscores and hyphens"
      />
      {command === "" ? (
        <Confirm
          label="Make its command"
          kind="main"
          title={`A secret for ${id}?`}
          says={`Makes a secret that opens Signalbox to the runner ${id} alone, and shows it once. A former secret of ${id} is worth nothing from then on.`}
          act={issue}
          disabled={id === ""}
        />
      ) : (
        <>
          <p>
            {isLocal() ? "Run this in the clone of Signalbox" : "Run this on its machine"}. The secret in it
            is shown this once. The runner appears above when it has connected.
          </p>
          <Copy text={command} />
        </>
      )}
    </section>
  );
}

/** On this machine a runner of the local stack has the usual workspace already. */
function commandOf(id: string, secret: string): string {
  const socket = isLocal()
    ? `ws://localhost${location.port === "" ? "" : `:${location.port}`}`
    : `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
  return [
    `RUNNER_ID=${id}`,
    `RUNNER_BROKER_URL=${socket}/_signalbox/socket`,
    `RUNNER_SHARED_SECRET=${secret}`,
    ...(isLocal() ? [`WORKSPACE_ROOT=~/signalbox-${id}`] : []),
    "npx signalbox runner",
  ].join(" \\\n");
}
