import { isOver, type BuildEvent, type BuildFact, type BuildState } from "../../../protocol/builds.ts";

type Fact<T extends BuildFact["type"]> = Extract<BuildFact, { type: T }>;

/** What is shown of one build, in its order. Each has a key of its own, and is another object once it has changed. */
export type Item = { key: string; at: string } & (
  | Fact<"message" | "thought" | "plan" | "tool" | "changes" | "terminal" | "preview" | "repair" | "log">
  | (Fact<"step"> & { begunAt: string })
  | (Fact<"question"> & { answer: { option: string | null; by: string } | null })
);

export interface Conversation {
  /** The last event's number. */
  seq: number;
  items: Item[];
  state: BuildState;
  reason: string | null;
  usage: Omit<Fact<"usage">, "type"> | null;
  /** Where an item is that later events change. */
  places: Map<string, number>;
}

export function newConversation(): Conversation {
  return { seq: 0, items: [], state: "queued", reason: null, usage: null, places: new Map() };
}

/** Whether it is over, so that nothing of it changes any more. */
export function hasEnded({ state }: Conversation): boolean {
  return isOver(state);
}

/** Takes the next event in; one that it has already changes nothing. */
export function addEvent(to: Conversation, event: BuildEvent): void {
  if (event.seq <= to.seq) return;
  to.seq = event.seq;
  const { seq, at } = event;
  const key = String(seq);
  switch (event.type) {
    case "state":
      to.state = event.state;
      to.reason = event.reason ?? null;
      return;
    case "usage":
      to.usage = event;
      return;
    case "message":
    case "thought": {
      const last = to.items.at(-1);
      if (last !== undefined && isSameVoice(last, event)) {
        to.items[to.items.length - 1] = { ...last, text: last.text + event.text };
      } else to.items.push({ ...event, key });
      return;
    }
    case "plan":
    case "tool":
    case "terminal":
      return put(to, placeOf(event), { ...event, key });
    case "step": {
      const place = `step ${event.step}`;
      // A repair goes through the same steps again.
      if (event.status === "begun") to.places.delete(place);
      return put(to, place, { ...event, key, begunAt: at });
    }
    case "question":
      return put(to, `question ${event.request}`, { ...event, key, answer: null });
    case "answer": {
      const place = to.places.get(`question ${event.request}`);
      const asked = place === undefined ? undefined : to.items[place];
      if (place === undefined || asked?.type !== "question") return;
      to.items[place] = { ...asked, answer: { option: event.option, by: event.by } };
      return;
    }
    case "changes":
    case "preview":
    case "repair":
    case "log":
      to.items.push({ ...event, key });
      return;
    case "other":
      return;
    default:
      event satisfies never; // a newer runner's
  }
}

function placeOf(fact: Fact<"plan" | "tool" | "terminal">): string {
  return fact.type === "plan" ? "plan" : `${fact.type} ${fact.id}`;
}

/** Puts it where an earlier one of its name is, with what it doesn't say itself. */
function put(to: Conversation, place: string, item: Item): void {
  const index = to.places.get(place);
  const known = index === undefined ? undefined : to.items[index];
  if (index === undefined || known === undefined) {
    to.places.set(place, to.items.length);
    to.items.push(item);
    return;
  }
  const merged = { ...known, ...item, key: known.key, at: known.at };
  if (merged.type === "step" && known.type === "step") merged.begunAt = known.begunAt;
  to.items[index] = merged;
}

function isSameVoice(
  last: Item,
  next: Fact<"message" | "thought">,
): last is Item & Fact<"message" | "thought"> {
  if (last.type === "thought") return next.type === "thought";
  return last.type === "message" && next.type === "message" && last.from === next.from;
}
