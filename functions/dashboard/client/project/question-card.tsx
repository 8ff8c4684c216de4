import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { call } from "../api.ts";
import { useDraft } from "../draft.ts";
import { Button } from "../parts/button.tsx";
import { Field } from "../parts/field.tsx";
import { visible } from "./ansi.ts";
import type { Item } from "./conversation.ts";

type Question = Extract<Item, { type: "question" }>;

/** What the agent asks: a permission, or a question of its own. It is answered here, once. */
export function QuestionCard({
  item,
  build,
  isOver,
}: {
  item: Question;
  build: string;
  isOver: boolean;
}): JSX.Element {
  const { request, title, options, answer } = item;
  const [text, setText] = useDraft(`answer:${build}:${request}`);
  const send = async (option: string | null): Promise<void> => {
    await call("POST", `/builds/${encodeURIComponent(build)}/answers/${encodeURIComponent(request)}`, {
      option,
    });
    setText("");
  };
  if (answer !== null || isOver) {
    const chosen = options.find(({ id }) => id === answer?.option)?.name ?? answer?.option;
    return (
      <p class="asked">
        <strong>{visible(title)}</strong>{" "}
        <span class="quiet">
          {answer === null
            ? "Nobody answered."
            : `${visible(answer.by)} answered: ${chosen == null ? "none of them" : visible(chosen)}.`}
        </span>
      </p>
    );
  }
  return (
    <section class="question" aria-label="The agent asks">
      <p>
        <strong>{visible(title)}</strong>
      </p>
      <div class="row">
        {options.map(({ id, name, kind }) => (
          <Button act={() => send(id)} kind={kind.startsWith("allow") ? "main" : "plain"}>
            {visible(name)}
          </Button>
        ))}
        {options.length === 0 && (
          <form class="row grow" onSubmit={(event: Event) => event.preventDefault()}>
            <Field label="Your answer" value={text} onInput={setText} />
            <Button kind="main" act={() => send(text)} disabled={text === ""}>
              Answer
            </Button>
          </form>
        )}
        <Button kind="quiet" act={() => send(null)}>
          {options.length === 0 ? "Don't answer" : "None of them"}
        </Button>
      </div>
    </section>
  );
}
