import { useEffect, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { ListedFile, ProjectFiles } from "../../../protocol/workspace-api.ts";
import { call } from "../api.ts";
import { Problem } from "../parts/problem.tsx";
import { visible } from "./ansi.ts";
import { projectPath } from "./api.ts";

interface TreeProps {
  slug: string;
  /** A directory of the project. */
  path: string;
  /** The file that is open. */
  open: string;
  /** Another one: something changed. */
  version: number;
  onChoose: (path: string) => void;
}

/** A directory, whose directories are read when they are opened. */
export function FileTree({ slug, path, open, version, onChoose }: TreeProps): JSX.Element {
  const [listed, setListed] = useState<ProjectFiles | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const address = `${projectPath(slug, "files")}?path=${encodeURIComponent(path)}`;
    const list = async (): Promise<void> => {
      try {
        setListed(await call<ProjectFiles>("GET", address, undefined, { signal }));
        setError(null);
      } catch (problem) {
        if (!signal.aborted) setError(problem);
      }
    };
    void list();
    return () => controller.abort();
  }, [slug, path, version]);
  const sorted =
    listed?.files.toSorted((one, other) => Number(isDirectory(other)) - Number(isDirectory(one))) ?? [];
  return (
    <>
      <Problem error={error} />
      <ul class="tree">
        {listed?.files.length === 0 && <li class="quiet">Empty</li>}
        {sorted.map((file) =>
          isDirectory(file) ? (
            <Directory
              key={file.path}
              file={file}
              slug={slug}
              path={path}
              open={open}
              version={version}
              onChoose={onChoose}
            />
          ) : (
            <li key={file.path}>
              <button
                type="button"
                class="quiet"
                aria-current={file.path === open ? "true" : undefined}
                disabled={file.type === "other"}
                onClick={() => onChoose(file.path)}
              >
                {visible(file.name)}
                {file.type === "symlink" && <small> → link</small>}
              </button>
            </li>
          ),
        )}
        {listed?.truncated === true && <li class="quiet">There are more.</li>}
      </ul>
    </>
  );
}

function Directory({ file, open: opened, ...props }: TreeProps & { file: ListedFile }): JSX.Element {
  const [isOpen, setIsOpen] = useState(opened.startsWith(`${file.path}/`));
  return (
    <li>
      <button
        type="button"
        class="quiet directory"
        aria-expanded={isOpen ? "true" : "false"}
        onClick={() => setIsOpen(!isOpen)}
      >
        {visible(file.name)}/
      </button>
      {isOpen && <FileTree {...props} open={opened} path={file.path} />}
    </li>
  );
}

function isDirectory({ type }: ListedFile): boolean {
  return type === "directory";
}
