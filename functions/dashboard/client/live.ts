import { useEffect, useRef, useState } from "hono/jsx/dom";
import { ApiProblem, follow } from "./api.ts";

/** A list that many changes touch is loaded at most this often. */
const RELOAD_EVERY_MS = 1_000;

/** `app:shop`, `runner:ID`, `project:SLUG`, `janitor`; `app:*` is any app. */
export type Topic = string;

/** The one stream of changes that a page holds, while somebody in it looks. */
interface Reader {
  topic: Topic;
  changed: () => void;
}

const readers = new Set<Reader>();
const watched = new Map<Topic, Set<(data: unknown) => void>>();
const connectionListeners = new Set<() => void>();
let connection: { state: "connected" | "connecting" | "broken"; since: number } = {
  state: "connecting",
  since: Date.now(),
};
let stream: AbortController | null = null;
let reopening: ReturnType<typeof setTimeout> | null = null;
let wasOpen = false;

function setConnection(state: typeof connection.state): void {
  if (connection.state === state) return;
  connection = { state, since: Date.now() };
  for (const listener of connectionListeners) listener();
}

/** Several readers come and go while a view changes: one stream serves them all. */
function reopen(): void {
  if (reopening !== null) return;
  reopening = setTimeout(() => {
    reopening = null;
    stream?.abort();
    stream = null;
    if (readers.size === 0 && watched.size === 0) return;
    void open();
  }, 50);
}

async function open(): Promise<void> {
  const controller = new AbortController();
  stream = controller;
  const query = [...watched.keys()].map((topic) => `watch=${encodeURIComponent(topic)}`).join("&");
  try {
    await follow(`/events${query === "" ? "" : `?${query}`}`, take, {
      signal: controller.signal,
      onState(state) {
        if (stream !== controller) return;
        setConnection(state === "open" ? "connected" : "broken");
        // What changed meanwhile was told to nobody.
        if (state === "open" && wasOpen) for (const reader of readers) reader.changed();
        wasOpen = true;
      },
    });
  } catch {
    setConnection("broken"); // signed out, or not allowed: the calls themselves say so
  }
  if (stream === controller && !controller.signal.aborted) reopen();
}

function take({ event, data }: { event: string; data: string }): void {
  const { topic, ...rest } = JSON.parse(data) as { topic: string };
  if (event === "watched") {
    for (const listener of watched.get(topic) ?? []) listener(rest);
    return;
  }
  if (event !== "changed") return;
  for (const reader of readers) if (matches(reader.topic, topic)) reader.changed();
}

function matches(wanted: Topic, topic: string): boolean {
  return wanted.endsWith("*") ? topic.startsWith(wanted.slice(0, -1)) : wanted === topic;
}

/** Whether the server can be reached, and since when that is so. */
export function useConnection(): typeof connection {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = (): void => redraw((count) => count + 1);
    connectionListeners.add(listener);
    return () => connectionListeners.delete(listener);
  }, []);
  return connection;
}

export interface Live<T> {
  /** The last good value. */
  value: T | undefined;
  /** Why the last load failed; null once one succeeds. */
  problem: ApiProblem | null;
  /** Since when `value` may be old, epoch milliseconds. */
  staleSince: number | null;
  reload: () => void;
}

/**
 * Loads, and again whenever the server says that the topic changed (or one of several). `load` may change from render to
 * render; it is called anew at once where `key` differs.
 */
export function useLive<T>(
  topic: Topic | readonly Topic[],
  load: (signal: AbortSignal) => Promise<T>,
  key = String(topic),
): Live<T> {
  const [state, setState] = useState<Omit<Live<T>, "reload"> & { key: string }>({
    key,
    value: undefined,
    problem: null,
    staleSince: null,
  });
  const latest = useRef(load);
  latest.current = load;
  const reload = useRef<() => void>(() => undefined);
  useEffect(() => {
    const controller = new AbortController();
    let running = false;
    let again = false;
    let timer: ReturnType<typeof setTimeout> | null = null;
    const run = async (): Promise<void> => {
      if (running) {
        again = true;
        return;
      }
      running = true;
      again = false;
      try {
        const value = await latest.current(controller.signal);
        if (!controller.signal.aborted) setState({ key, value, problem: null, staleSince: null });
      } catch (error) {
        if (controller.signal.aborted) return;
        const problem = error instanceof ApiProblem ? error : new ApiProblem("internal", String(error), 0);
        setState((before) => ({
          key,
          value: before.key === key ? before.value : undefined,
          problem,
          staleSince: before.staleSince ?? Date.now(),
        }));
        // Nobody tells when a store or a runner is back.
        if (problem.status === 0 || problem.status >= 500) schedule(3_000);
      } finally {
        running = false;
      }
      if (again) schedule(RELOAD_EVERY_MS);
    };
    const schedule = (ms: number): void => {
      if (controller.signal.aborted) return;
      timer ??= setTimeout(() => {
        timer = null;
        void run();
      }, ms);
    };
    let lastChange = 0;
    const changed = (): void => {
      const wait = Math.max(0, lastChange + RELOAD_EVERY_MS - Date.now());
      lastChange = Date.now() + wait;
      schedule(wait);
    };
    const mine = (typeof topic === "string" ? [topic] : topic).map((one) => ({ topic: one, changed }));
    for (const reader of mine) readers.add(reader);
    if (stream === null) reopen();
    reload.current = () => void run();
    void run();
    return () => {
      controller.abort();
      if (timer !== null) clearTimeout(timer);
      for (const reader of mine) readers.delete(reader);
      if (readers.size === 0) reopen();
    };
  }, [key]);
  const own = state.key === key ? state : { value: undefined, problem: null, staleSince: null };
  return {
    value: own.value,
    problem: own.problem,
    staleSince: own.staleSince,
    reload: () => reload.current(),
  };
}

/** Numbers that no change tells of: the server reads them every 2 s while somebody looks. */
export function useWatch<T>(topic: Topic | null): T | undefined {
  const [value, setValue] = useState<T | undefined>(undefined);
  useEffect(() => {
    if (topic === null) return;
    const listeners = watched.get(topic) ?? new Set();
    const listener = (data: unknown): void => setValue(data as T);
    listeners.add(listener);
    watched.set(topic, listeners);
    reopen();
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) {
        watched.delete(topic);
        reopen();
      }
    };
  }, [topic]);
  return value;
}
