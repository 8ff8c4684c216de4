import { useRef } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { BuildView } from "../../../protocol/builds.ts";
import { call } from "../api.ts";
import { Button } from "../parts/button.tsx";
import { Field } from "../parts/field.tsx";
import { AgentChoice } from "./agent-choice.tsx";
import { newKey, projectPath } from "./api.ts";

export interface ComposerProps {
  slug: string;
  runnerId: string;
  /** The project's own. */
  agent: string | null;
  /** Builds that aren't over. */
  open: number;
  text: string;
  onText: (text: string) => void;
  chosen: string;
  onChoose: (agent: string) => void;
  onSent: () => void;
}

/** The next prompt. What is typed stays until the server has taken it. */
export function Composer(props: ComposerProps): JSX.Element {
  const { slug, runnerId, agent, open, text, onText, chosen, onChoose, onSent } = props;
  const key = useRef({ text: "", value: "" });
  const send = async (): Promise<void> => {
    const prompt = text.trim();
    if (prompt === "") return;
    // The same words again after a lost answer are the same build.
    if (key.current === null || key.current.text !== prompt) key.current = { text: prompt, value: newKey() };
    const body = { prompt, ...(chosen !== "" && { agent: chosen }) };
    await call<BuildView>("POST", projectPath(slug, "builds"), body, {
      idempotencyKey: key.current.value,
    });
    key.current = { text: "", value: "" };
    onText("");
    onSent();
  };
  return (
    <form
      class="composer"
      onSubmit={(event: Event) => event.preventDefault()}
      onKeyDown={(event: KeyboardEvent) => {
        if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        (event.currentTarget as HTMLElement).querySelector<HTMLButtonElement>("button.send")?.click();
      }}
    >
      <Field label="What should change?" value={text} onInput={onText} rows={2} />
      <div class="send-row">
        <AgentChoice
          runnerIds={[runnerId]}
          value={chosen}
          onChoose={onChoose}
          first={agent === null ? "The project's agent" : `The project's agent (${agent})`}
        />
        <div class="row end">
          {open > 0 && (
            <span class="quiet">It waits for {open === 1 ? "the build" : `${open} builds`} before it.</span>
          )}
          <Button kind="main" class="send" act={send} disabled={text.trim() === ""}>
            Send
          </Button>
        </div>
      </div>
    </form>
  );
}
