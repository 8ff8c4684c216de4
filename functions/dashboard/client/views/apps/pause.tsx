import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App } from "../../api-types.ts";
import { call } from "../../api.ts";
import { useDraft } from "../../draft.ts";
import { Confirm } from "../../parts/confirm.tsx";
import { Field } from "../../parts/field.tsx";
import { appPath } from "./path.ts";

const MODES = [
  ["hold", "Requests wait"],
  ["refuse", "Requests are refused"],
] as const;

const SAYS: Record<string, string> = {
  hold: "Every request to this app waits until you resume, at most 30 s; then it gets 504. Open WebSockets stay.",
  refuse: "Every request to this app gets 503 with this message until you resume. Open WebSockets stay.",
};

export function PauseOrResume({ app }: { app: App }): JSX.Element {
  const [mode, setMode] = useState("hold");
  const [message, setMessage] = useDraft(`pause:${app.name}`);
  if (app.paused !== null) {
    return (
      <Confirm
        label="Resume"
        kind="main"
        title={`Resume ${app.name}?`}
        says="Requests go through again, those that wait first."
        act={() => call("POST", appPath(app.name, "/resume"))}
      />
    );
  }
  const pause = async (): Promise<void> => {
    await call("POST", appPath(app.name, "/pause"), message === "" ? { mode } : { mode, message });
    setMessage("");
  };
  return (
    <Confirm label="Pause" kind="danger" title={`Pause ${app.name}?`} says={SAYS[mode] ?? ""} act={pause}>
      <Field label="Meanwhile" value={mode} onInput={setMode} options={MODES} />
      <Field
        label="Message"
        value={message}
        onInput={setMessage}
        placeholder="This app is paused for maintenance. Please try again shortly."
      />
    </Confirm>
  );
}
