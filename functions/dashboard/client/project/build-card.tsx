import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import {
  isOver,
  type BuildDiff,
  type BuildEvent,
  type BuildState,
  type BuildView,
} from "../../../protocol/builds.ts";
import { call } from "../api.ts";
import { Confirm } from "../parts/confirm.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { Dot } from "../parts/dot.tsx";
import { Problem } from "../parts/problem.tsx";
import { Since } from "../parts/since.tsx";
import { visible } from "./ansi.ts";
import { buildTones, buildWords } from "./api.ts";
import { BuildItem } from "./build-item.tsx";
import type { Conversation } from "./conversation.ts";
import { DiffText } from "./diff-text.tsx";
import { Fold } from "./fold.tsx";
import { Undo } from "./undo.tsx";
import { useBuild } from "./use-build.ts";

/** Things of a build that are in the page at once: a long one has 20,000. */
const ITEMS_SHOWN = 120;

export interface BuildCardProps {
  build: BuildView;
  slug: string;
  isOpen: boolean;
  onEvent?: (event: BuildEvent) => void;
}

/** One prompt and what came of it. Open, it follows the build. */
export function BuildCard({ build, slug, isOpen, onEvent }: BuildCardProps): JSX.Element {
  const [open, setOpen] = useState(isOpen);
  const title = visible(build.prompt.split("\n")[0] ?? "");
  return (
    <article class="build" aria-label={`Build: ${title.slice(0, 80)}`}>
      <button
        type="button"
        class="build-title"
        aria-expanded={open ? "true" : "false"}
        onClick={() => setOpen(!open)}
      >
        <Dot tone={buildTones[build.state]} label={buildWords[build.state]} />
        <strong>{title}</strong>
        <span class="quiet">
          {visible(build.agent)}, {buildWords[build.state]}, <Since at={build.updatedAt} />
        </span>
      </button>
      {open && <Story build={build} slug={slug} {...(onEvent && { onEvent })} />}
    </article>
  );
}

function Story({ build, slug, onEvent }: Omit<BuildCardProps, "isOpen">): JSX.Element {
  const { conversation, isLive, problem } = useBuild(build.id, onEvent);
  const [shown, setShown] = useState(ITEMS_SHOWN);
  const { items, seq } = conversation;
  const state = seq === 0 ? build.state : conversation.state;
  const over = isOver(state);
  const from = Math.max(0, items.length - shown);
  return (
    <div class="story">
      <Problem error={problem} />
      {!isLive && !over && (
        <p class="notice" role="status">
          You are disconnected from this build. It goes on; what you missed comes when you are back.
        </p>
      )}
      {from > 0 && (
        <button type="button" class="quiet" onClick={() => setShown(shown + ITEMS_SHOWN)}>
          Show earlier ({from} more)
        </button>
      )}
      <div class="items">
        {items.slice(from).map((item) => (
          <BuildItem key={item.key} item={item} build={build.id} isOver={over} />
        ))}
      </div>
      <Outcome conversation={conversation} fallback={build} />
      <div class="row">
        {over ? (
          <>
            <Changes id={build.id} />
            <Undo slug={slug} build={build.id} />
          </>
        ) : (
          <Confirm
            label="Stop"
            title="Stop this build?"
            says="The agent ends with all that it started. Files that it has written stay; you can undo them."
            kind="danger"
            act={() => call("POST", `/builds/${encodeURIComponent(build.id)}/cancel`)}
          />
        )}
      </div>
    </div>
  );
}

const sentences: Record<BuildState, string> = {
  queued: "The build waits for its turn.",
  running: "The agent is at work.",
  waiting: "The agent waits for your answer.",
  completed: "The build is done.",
  failed: "The agent has stopped: the build failed.",
  cancelled: "The agent has stopped: the build was cancelled.",
  interrupted: "The agent has stopped: the build was interrupted.",
};

/** How it stands, in words that a screen reader says when they change. The third truth: whether the agent has stopped. */
function Outcome({
  conversation: { state, reason, usage, seq },
  fallback,
}: {
  conversation: Conversation;
  fallback: BuildView;
}): JSX.Element {
  const now = seq === 0 ? fallback.state : state;
  const why = seq === 0 ? fallback.reason : reason;
  return (
    <div class="outcome">
      <p role="status">
        <span class={`dot ${buildTones[now]}`} aria-hidden="true"></span> {sentences[now]}
        {why !== null && now !== "waiting" && ` ${visible(why)}`}
      </p>
      {usage !== null && (
        <p class="quiet">
          {usage.usedTokens.toLocaleString()} of {usage.contextTokens.toLocaleString()} tokens
          {usage.cost !== undefined &&
            `, ${usage.cost.amount.toFixed(2)} ${visible(usage.cost.currency)}`}{" "}
          <meter
            min={0}
            max={usage.contextTokens}
            value={usage.usedTokens}
            aria-label="Tokens of the agent's context that are used"
          ></meter>
        </p>
      )}
    </div>
  );
}

function Changes({ id }: { id: string }): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        What changed
      </button>
      {open && (
        <Dialog title="What this build changed" wide onClose={() => setOpen(false)}>
          <DiffOf id={id} />
        </Dialog>
      )}
    </>
  );
}

function DiffOf({ id }: { id: string }): JSX.Element {
  const [diff, setDiff] = useState<BuildDiff | null>(null);
  const [error, setError] = useState<unknown>(null);
  const asked = useRef(false);
  useEffect(() => {
    if (asked.current) return;
    asked.current = true;
    call<BuildDiff>("GET", `/builds/${encodeURIComponent(id)}/diff`).then(setDiff, setError);
  }, [id]);
  if (error !== null) return <Problem error={error} />;
  if (diff === null) return <p role="status">Loading…</p>;
  if (diff.files.length === 0) return <p>Nothing.</p>;
  return (
    <>
      {diff.files.map(({ path, status, diff: text }) => (
        <Fold
          summary={
            <>
              <code>{visible(path)}</code> <span class="quiet">{status}</span>
            </>
          }
          isOpen={diff.files.length < 6}
        >
          {() =>
            text === undefined ? (
              <p class="quiet">It isn't text, or is too long to be shown.</p>
            ) : (
              <DiffText text={text} label={`Changes of ${visible(path)}`} />
            )
          }
        </Fold>
      ))}
      {diff.isTruncated && <p class="quiet">There is more than is shown.</p>}
    </>
  );
}
