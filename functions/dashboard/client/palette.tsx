import { useEffect, useMemo, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App, Runner } from "./api-types.ts";
import { call } from "./api.ts";
import { Dialog } from "./parts/dialog.tsx";
import { navigate } from "./router.tsx";
import { loadApps } from "./views/apps/list.tsx";
import { loadRunners } from "./views/runners/load.ts";

/** Rows in sight; a better word finds the others. */
const SHOWN = 12;

interface Entry {
  words: string;
  kind: string;
  to: string[];
}

const ACTIONS: Entry[] = [
  { words: "Apps", kind: "page", to: ["apps"] },
  { words: "Projects", kind: "page", to: ["projects"] },
  { words: "New project", kind: "action", to: ["projects", "new"] },
  { words: "Runners", kind: "page", to: ["runners"] },
  { words: "Add a runner", kind: "action", to: ["runners"] },
  { words: "Janitor", kind: "page", to: ["janitor"] },
  { words: "Run the janitor", kind: "action", to: ["janitor"] },
  { words: "Audit", kind: "page", to: ["audit"] },
  { words: "Access tokens", kind: "page", to: ["tokens"] },
  { words: "New access token", kind: "action", to: ["tokens"] },
];

/** ⌘K: everything by its name. It goes where a thing is, and where it can be done. */
export function Palette({ onClose }: { onClose: () => void }): JSX.Element {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [entries, setEntries] = useState<Entry[]>(ACTIONS);
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    const controller = new AbortController();
    // What can't be loaded now isn't in the list; the pages are.
    const add = (more: Entry[]): void => setEntries((before) => [...before, ...more]);
    const { signal } = controller;
    loadApps(signal).then(
      (apps) => add(apps.flatMap(ofApp)),
      () => undefined,
    );
    loadRunners(signal).then(
      (runners) => add(runners.map(ofRunner)),
      () => undefined,
    );
    call<{ projects: { slug: string; name: string }[] }>("GET", "/projects?limit=500", undefined, {
      signal,
    }).then(
      ({ projects }) =>
        add(projects.map(({ slug, name }) => ({ words: name, kind: "project", to: ["projects", slug] }))),
      () => undefined,
    );
    return () => controller.abort();
  }, []);
  const found = useMemo(() => search(entries, text), [entries, text]);
  const chosen = Math.min(at, Math.max(0, found.length - 1));
  const go = (entry: Entry | undefined): void => {
    if (entry === undefined) return;
    onClose();
    navigate(...entry.to);
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key === "Enter") {
      event.preventDefault();
      go(found[chosen]);
    }
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0 || found.length === 0) return;
    event.preventDefault();
    setAt((chosen + step + found.length) % found.length);
  };
  return (
    <Dialog title="Go to" onClose={onClose}>
      <input
        type="search"
        role="combobox"
        aria-label="Apps, versions, runners, projects and actions"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found.length === 0 ? undefined : `palette-${chosen}`}
        autocomplete="off"
        value={text}
        onInput={(event: Event) => {
          setText((event.target as HTMLInputElement).value);
          setAt(0);
        }}
        onKeyDown={key}
      />
      <ul role="listbox" id="palette-list" aria-label="Found" class="palette" ref={list}>
        {found.map((entry, index) => (
          <li
            role="option"
            id={`palette-${index}`}
            aria-selected={index === chosen ? "true" : "false"}
            onClick={() => go(entry)}
          >
            {entry.words} <small class="quiet">{entry.kind}</small>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="quiet">Nothing has such a name.</p>}
    </Dialog>
  );
}

/** Every word must be in a name; names that begin with the text come first. */
function search(entries: Entry[], text: string): Entry[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const first = words[0] ?? "";
  return entries
    .map((entry) => ({ entry, name: `${entry.words} ${entry.kind}`.toLowerCase() }))
    .filter(({ name }) => words.every((word) => name.includes(word)))
    .sort((one, other) => Number(other.name.startsWith(first)) - Number(one.name.startsWith(first)))
    .slice(0, SHOWN)
    .map(({ entry }) => entry);
}

function ofApp(app: App): Entry[] {
  const { name } = app;
  return [
    { words: name, kind: "app", to: ["apps", name] },
    { words: `${name}: roll out a new version`, kind: "action", to: ["apps", name, "new"] },
    { words: `${name}: roll back, pause, promote`, kind: "action", to: ["apps", name] },
    { words: `${name}: configuration`, kind: "page", to: ["apps", name, "configuration"] },
    ...app.deployments.map(({ id, state }) => ({
      words: `${name} ${id}`,
      kind: state,
      to: ["apps", name, "deployments", id],
    })),
  ];
}

function ofRunner({ id, state }: Runner): Entry {
  return { words: id, kind: `runner, ${state}`, to: ["runners", id] };
}
