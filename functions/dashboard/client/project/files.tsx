import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { FileChanges, FoundFiles } from "../../../protocol/workspace-api.ts";
import { call, follow } from "../api.ts";
import { Button } from "../parts/button.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { Field } from "../parts/field.tsx";
import { Problem } from "../parts/problem.tsx";
import { navigate } from "../router.tsx";
import { visible } from "./ansi.ts";
import { projectPath } from "./api.ts";
import { FileTree } from "./file-tree.tsx";
import { FileView } from "./file-view.tsx";

/** The project's files: a tree, a search, and the open one. `open` is a path of the project. */
export function Files({ slug, open }: { slug: string; open: string }): JSX.Element {
  const { version, changed } = useChanges(slug);
  const [line, setLine] = useState<number | null>(null);
  const choose = (path: string, at: number | null = null): void => {
    setLine(at);
    navigate("projects", slug, "files", ...path.split("/"));
  };
  return (
    <div class={`files ${open === "" ? "" : "has-open"}`}>
      <nav aria-label="Files">
        <Search slug={slug} onChoose={choose} />
        <NewFile slug={slug} onMade={choose} />
        <FileTree slug={slug} path="" open={open} version={version} onChoose={choose} />
      </nav>
      {open === "" ? (
        <p class="quiet">Choose a file to see and edit it.</p>
      ) : (
        <FileView
          key={open}
          slug={slug}
          path={open}
          line={line}
          changes={changed.get(open) ?? 0}
          onClose={() => navigate("projects", slug, "files")}
        />
      )}
    </div>
  );
}

/** Counts changes of the project's files while somebody looks: all of them, and by path. */
function useChanges(slug: string): { version: number; changed: ReadonlyMap<string, number> } {
  const [version, setVersion] = useState(0);
  const changed = useRef(new Map<string, number>());
  useEffect(() => {
    const counts = new Map<string, number>();
    changed.current = counts;
    const controller = new AbortController();
    let isFirst = true;
    follow(
      projectPath(slug, "changes"),
      ({ event, data }) => {
        // What changed between two connections isn't told.
        if (event === "ready" && !isFirst) for (const path of counts.keys()) count(path);
        isFirst = false;
        if (event === "files") {
          const { changed: some, deleted } = JSON.parse(data) as FileChanges;
          for (const path of [...some, ...deleted]) count(path);
        }
        setVersion((before) => before + 1);
      },
      { signal: controller.signal },
    ).catch(() => undefined); // the runner is away: the tree says so
    function count(path: string): void {
      counts.set(path, (counts.get(path) ?? 0) + 1);
    }
    return () => controller.abort();
  }, [slug]);
  return { version, changed: changed.current ?? new Map() };
}

function Search({
  slug,
  onChoose,
}: {
  slug: string;
  onChoose: (path: string, line: number | null) => void;
}): JSX.Element {
  const [wanted, setWanted] = useState("");
  const [by, setBy] = useState<"text" | "name">("text");
  const [found, setFound] = useState<FoundFiles | null>(null);
  const look = async (): Promise<void> => {
    setFound(
      await call<FoundFiles>(
        "GET",
        `${projectPath(slug, "search")}?${by}=${encodeURIComponent(wanted)}&limit=100`,
      ),
    );
  };
  return (
    <form
      class="search"
      onSubmit={(event: Event) => {
        event.preventDefault();
        (event.currentTarget as HTMLElement).querySelector<HTMLButtonElement>("button.go")?.click();
      }}
    >
      <Field label="Search" value={wanted} onInput={setWanted} type="search" />
      <div class="row">
        <label class="check">
          <input
            type="checkbox"
            checked={by === "name"}
            onChange={(event: Event) => setBy((event.target as HTMLInputElement).checked ? "name" : "text")}
          />{" "}
          by name
        </label>
        <Button act={look} class="go" disabled={wanted === ""}>
          Search
        </Button>
        {found !== null && (
          <Button kind="quiet" act={() => setFound(null)}>
            Clear
          </Button>
        )}
      </div>
      {found !== null && (
        <ul class="found" aria-label="Found">
          {found.matches.length === 0 && <li class="quiet">Nothing found.</li>}
          {found.matches.map(({ path, line, text }) => (
            <li>
              <button type="button" class="quiet" onClick={() => onChoose(path, line ?? null)}>
                {visible(path)}
                {line !== undefined && `:${line}`}
                {text !== undefined && <small>{visible(text.trim().slice(0, 120))}</small>}
              </button>
            </li>
          ))}
          {found.truncated && <li class="quiet">There may be more.</li>}
        </ul>
      )}
    </form>
  );
}

function NewFile({ slug, onMade }: { slug: string; onMade: (path: string) => void }): JSX.Element {
  const [open, setOpen] = useState(false);
  const [path, setPath] = useState("");
  const [error, setError] = useState<unknown>(null);
  const make = async (): Promise<void> => {
    setError(null);
    await call("PUT", projectPath(slug, "files", path), { content: "", replaces: null });
    setOpen(false);
    setPath("");
    onMade(path);
  };
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        New file
      </button>
      {open && (
        <Dialog title="New file" onClose={() => setOpen(false)}>
          <form onSubmit={(event: Event) => event.preventDefault()}>
            <Field label="Path" value={path} onInput={setPath} placeholder="src/about.html" />
            <Problem error={error} />
            <Button kind="main" act={make} disabled={path === ""}>
              Make it
            </Button>
          </form>
        </Dialog>
      )}
    </>
  );
}
