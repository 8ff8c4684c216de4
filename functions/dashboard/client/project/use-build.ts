import { useEffect, useState } from "hono/jsx/dom";
import type { BuildEvent } from "../../../protocol/builds.ts";
import { follow } from "../api.ts";
import { addEvent, hasEnded, newConversation, type Conversation } from "./conversation.ts";

/** Events come hundreds a second: so often, a page is drawn anew. */
const REDRAW_MS = 80;
/** Builds that are kept when nobody looks at them. */
const KEPT = 8;

/** What was read of a build, for the next one who looks. Ids are never used again. */
const kept = new Map<string, Conversation>();

export interface Followed {
  conversation: Conversation;
  /** False: it may have gone on meanwhile. */
  isLive: boolean;
  problem: unknown;
}

/** Reads a build's events, to its end. `onEvent` hears those that are new on this page. */
export function useBuild(id: string, onEvent?: (event: BuildEvent) => void): Followed {
  const [state, setState] = useState<{ id: string; isLive: boolean; problem: unknown; drawn: number }>({
    id,
    isLive: true,
    problem: null,
    drawn: 0,
  });
  const conversation = keep(id);
  useEffect(() => {
    const known = keep(id);
    if (hasEnded(known)) return;
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const draw = (change: Partial<typeof state> = {}): void =>
      setState((before) => ({ ...before, ...change, id, drawn: before.drawn + 1 }));
    void follow(
      `/builds/${encodeURIComponent(id)}/events`,
      ({ event, data }) => {
        if (event !== "build") return;
        const one = JSON.parse(data) as BuildEvent;
        if (one.seq <= known.seq) return;
        addEvent(known, one);
        onEvent?.(one);
        timer ??= setTimeout(() => {
          timer = null;
          draw();
        }, REDRAW_MS);
      },
      {
        signal: controller.signal,
        ...(known.seq > 0 && { after: String(known.seq) }),
        onState: (link) => draw({ isLive: link === "open" }),
      },
    ).then(
      () => draw({ isLive: true, problem: null }),
      (problem: unknown) => draw({ problem }),
    );
    return () => {
      controller.abort();
      if (timer !== null) clearTimeout(timer);
    };
  }, [id]);
  const isOwn = state.id === id;
  return { conversation, isLive: !isOwn || state.isLive, problem: isOwn ? state.problem : null };
}

function keep(id: string): Conversation {
  const known = kept.get(id);
  if (known !== undefined) {
    kept.delete(id);
    kept.set(id, known);
    return known;
  }
  const fresh = newConversation();
  kept.set(id, fresh);
  const [oldest] = kept.keys();
  if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest);
  return fresh;
}
