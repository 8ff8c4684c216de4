import { memo } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { BuildStep } from "../../../protocol/builds.ts";
import { Dot, type Tone } from "../parts/dot.tsx";
import { AnsiText } from "./ansi-text.tsx";
import { visible } from "./ansi.ts";
import type { Item } from "./conversation.ts";
import { DiffText } from "./diff-text.tsx";
import { Fold } from "./fold.tsx";
import { QuestionCard } from "./question-card.tsx";

type Of<T extends Item["type"]> = Extract<Item, { type: T }>;

const STEPS: Record<BuildStep, string> = {
  agent: "The agent works",
  install: "Install",
  start: "Start the dev server",
};

/** One thing that happened in a build. */
export const BuildItem = memo(
  ({ item, build, isOver }: { item: Item; build: string; isOver: boolean }): JSX.Element => {
    switch (item.type) {
      case "message":
        return (
          <div class={`message ${item.from}`}>
            <span class="who">{item.from === "user" ? "You" : "Agent"}</span>
            <p class="words">{visible(item.text)}</p>
          </div>
        );
      case "thought":
        return (
          <Fold summary={`Thought: ${firstWords(item.text)}`} class="thought">
            {() => <p class="words">{visible(item.text)}</p>}
          </Fold>
        );
      case "plan":
        return <Plan item={item} />;
      case "tool":
        return <Tool item={item} isOver={isOver} />;
      case "terminal":
        return <Terminal item={item} isOver={isOver} />;
      case "question":
        return <QuestionCard item={item} build={build} isOver={isOver} />;
      case "step":
        return <Step item={item} isOver={isOver} />;
      case "changes":
        return (
          <Fold summary={`${item.count} ${item.count === 1 ? "file" : "files"} changed`}>
            {() => <Names of={item.files} count={item.count} />}
          </Fold>
        );
      case "preview":
        return (
          <p class="quiet">
            The dev server ({visible(item.framework)}) runs on port {item.port}.
          </p>
        );
      case "repair":
        return (
          <Fold summary={`Repair ${item.attempt} of ${item.limit}: ${firstWords(item.error)}`} class="failed">
            {() => <AnsiText text={item.error} label="The error" />}
          </Fold>
        );
      case "log":
        return (
          <Fold summary={`Output of ${item.step}`}>
            {() => <AnsiText text={item.text} label={`Output of ${item.step}`} />}
          </Fold>
        );
    }
  },
);

function Plan({ item }: { item: Of<"plan"> }): JSX.Element {
  return (
    <section class="plan" aria-label="Plan">
      <strong>Plan</strong>
      <ul>
        {item.entries.map(({ title, status }) => (
          <li class={status === "completed" ? "done" : ""}>
            <Dot tone={toneOf(status, false)} label={visible(status)} /> {visible(title)}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Tool({ item, isOver }: { item: Of<"tool">; isOver: boolean }): JSX.Element {
  const { title = "Tool", kind, status = "pending", output, files = [], truncated = false } = item;
  const summary = (
    <>
      <Dot tone={toneOf(status, isOver)} label={visible(status)} /> {visible(title)}{" "}
      {kind !== undefined && <small class="quiet">{visible(kind)}</small>}
    </>
  );
  if (output === undefined && files.length === 0) return <p class="tool">{summary}</p>;
  return (
    <Fold summary={summary} class="tool">
      {() => (
        <>
          <Names of={files} count={files.length} />
          {output !== undefined &&
            (output.startsWith("--- ") ? (
              <DiffText text={output} label={`Changes of ${visible(title)}`} />
            ) : (
              <AnsiText text={output} label={`Output of ${visible(title)}`} />
            ))}
          {truncated && <p class="quiet">There was more than is kept.</p>}
        </>
      )}
    </Fold>
  );
}

function Terminal({ item, isOver }: { item: Of<"terminal">; isOver: boolean }): JSX.Element {
  const { command, status, exitCode, signal, output } = item;
  const hasFailed = status === "exited" && exitCode !== 0;
  const end = signal ?? (exitCode == null ? "" : `exit ${exitCode}`);
  const tone: Tone = hasFailed ? "bad" : status === "exited" ? "good" : isOver ? "off" : "busy";
  const summary = (
    <>
      <Dot tone={tone} label={status === "exited" ? end : status} /> <code>$ {visible(command)}</code>{" "}
      <small class="quiet">{end}</small>
    </>
  );
  if (output === undefined) return <p class="tool">{summary}</p>;
  return (
    <Fold summary={summary} class="tool" isOpen={hasFailed}>
      {() => <AnsiText text={output} label={`Output of ${visible(command)}`} />}
    </Fold>
  );
}

function Step({ item, isOver }: { item: Of<"step">; isOver: boolean }): JSX.Element {
  const { step, status, detail, ms } = item;
  const tone: Tone = status === "done" ? "good" : status === "failed" ? "bad" : isOver ? "off" : "busy";
  return (
    <p class="step">
      <Dot tone={tone} label={status} /> {STEPS[step] ?? step}
      {ms !== undefined && <span class="quiet"> {(ms / 1_000).toFixed(1)} s</span>}
      {detail !== undefined && <span class={status === "failed" ? "bad" : "quiet"}> {visible(detail)}</span>}
    </p>
  );
}

function Names({ of: names, count }: { of: string[]; count: number }): JSX.Element | null {
  if (names.length === 0) return null;
  return (
    <ul class="names">
      {names.map((name) => (
        <li>
          <code>{visible(name)}</code>
        </li>
      ))}
      {count > names.length && <li class="quiet">and {count - names.length} more</li>}
    </ul>
  );
}

/** By the protocol's words: pending, in_progress, completed, failed. */
function toneOf(status: string, isOver: boolean): Tone {
  if (status === "completed") return "good";
  if (status === "failed") return "bad";
  return status === "in_progress" && !isOver ? "busy" : "off";
}

function firstWords(text: string): string {
  const line = visible(text.trim().split("\n")[0] ?? "");
  return line.length > 80 ? `${line.slice(0, 80)}…` : line;
}
