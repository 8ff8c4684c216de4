import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { ProjectFile, WrittenFile } from "../../../protocol/workspace-api.ts";
import { ApiProblem, call } from "../api.ts";
import { Button } from "../parts/button.tsx";
import { Confirm } from "../parts/confirm.tsx";
import { Problem } from "../parts/problem.tsx";
import { visible } from "./ansi.ts";
import { projectPath } from "./api.ts";
import type { Editor } from "./editor.ts";
import { forgetEdit, keepEdit, keptEdit } from "./kept-edit.ts";

const IMAGE = /\.(png|jpe?g|gif|webp|avif|ico|bmp)$/i;

export interface FileViewProps {
  slug: string;
  path: string;
  /** Where the cursor goes. */
  line: number | null;
  /** Rises when the file on the runner changes. */
  changes: number;
  onClose: () => void;
}

/** One file: text in an editor, an image as such, of anything else its size. */
export function FileView({ slug, path, line, changes, onClose }: FileViewProps): JSX.Element {
  const [file, setFile] = useState<ProjectFile | null>(null);
  const [error, setError] = useState<unknown>(null);
  const address = projectPath(slug, "files", path);
  const load = async (): Promise<ProjectFile> => {
    const read = await call<ProjectFile>("GET", address);
    setFile(read);
    setError(null);
    return read;
  };
  useEffect(() => {
    load().catch(setError);
  }, [changes]);
  const remove = async (): Promise<void> => {
    await call("DELETE", address);
    forgetEdit(slug, path);
    onClose();
  };
  return (
    <section class="file" aria-label={visible(path)}>
      <div class="row apart">
        <h2>
          <code>{visible(path)}</code>
        </h2>
        <div class="row">
          <Confirm
            label="Delete"
            title={`Delete ${visible(path)}?`}
            says="The file goes from the project. An undo of a build doesn't bring it back."
            kind="danger"
            act={remove}
          />
          <Button kind="quiet" act={onClose}>
            Close
          </Button>
        </div>
      </div>
      <Problem error={error} />
      {file === null && error === null && <p role="status">Loading…</p>}
      {file?.encoding === "utf8" && <Text slug={slug} file={file} line={line} load={load} />}
      {file?.encoding === "base64" &&
        (IMAGE.test(path) ? (
          // As an image nothing of it runs, whatever it really is.
          <img src={`data:image/${typeOf(path)};base64,${file.content}`} alt={visible(path)} />
        ) : (
          <p>It isn't text: {file.size.toLocaleString()} bytes.</p>
        ))}
    </section>
  );
}

function typeOf(path: string): string {
  const ending = IMAGE.exec(path)?.[1]?.toLowerCase() ?? "png";
  return ending === "jpg" ? "jpeg" : ending === "ico" ? "x-icon" : ending;
}

interface TextProps {
  slug: string;
  file: ProjectFile;
  line: number | null;
  load: () => Promise<ProjectFile>;
}

/** What is typed is kept in this tab until it is saved; a file that changed meanwhile isn't overwritten unasked. */
function Text({ slug, file, line, load }: TextProps): JSX.Element {
  const { path } = file;
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor | null>(null);
  const [kept] = useState(() => keptEdit(slug, path));
  const text = useRef(kept?.text ?? file.content);
  /** What the text in the editor began as. */
  const base = useRef({ content: file.content, sha256: kept === null ? file.sha256 : kept.sha256 });
  const [isChanged, setIsChanged] = useState(kept !== null && kept.text !== file.content);
  const [isConflict, setIsConflict] = useState(isChanged && kept?.sha256 !== file.sha256);
  const [error, setError] = useState<unknown>(null);
  const begin = ({ content, sha256 }: ProjectFile): void => {
    base.current = { content, sha256 };
    text.current = content;
    forgetEdit(slug, path);
    setIsChanged(false);
    setIsConflict(false);
  };
  const change = (next: string): void => {
    text.current = next;
    setIsChanged(next !== base.current?.content);
    keepEdit(slug, path, { text: next, sha256: base.current?.sha256 });
  };
  const write = async (replaces: string | null | undefined): Promise<void> => {
    const content = text.current ?? "";
    try {
      const { sha256 } = await call<WrittenFile>("PUT", projectPath(slug, "files", path), {
        content,
        ...(replaces !== undefined && { replaces }),
      });
      base.current = { content, sha256 };
      const isStill = text.current === content;
      if (isStill) forgetEdit(slug, path);
      setIsChanged(!isStill);
      setIsConflict(false);
    } catch (problem) {
      if (!(problem instanceof ApiProblem) || problem.code !== "changed_meanwhile") throw problem;
      setIsConflict(true);
    }
  };
  const save = (): Promise<void> => write(base.current?.sha256);
  const saveByKey = (): void => {
    setError(null);
    save().catch(setError);
  };
  useEffect(() => {
    let isLeft = false;
    const open = async (): Promise<void> => {
      const { openEditor } = await import("./editor.ts");
      if (isLeft || host.current === null) return;
      editor.current = openEditor(host.current, {
        path,
        text: text.current ?? "",
        onChange: change,
        onSave: saveByKey,
      });
      if (line !== null) editor.current.goTo(line);
    };
    open().catch(setError);
    return () => {
      isLeft = true;
      editor.current?.close();
    };
  }, []);
  useEffect(() => {
    if (line !== null) editor.current?.goTo(line);
  }, [line]);
  useEffect(() => {
    if (file.sha256 === base.current?.sha256 && file.content === base.current?.content) return;
    if (file.content === text.current) return begin(file);
    if (text.current !== base.current?.content) return setIsConflict(true);
    begin(file);
    editor.current?.set(file.content);
  }, [file]);
  const takeTheirs = async (): Promise<void> => {
    const theirs = await load();
    begin(theirs);
    editor.current?.set(theirs.content);
  };
  return (
    <>
      <div class="row">
        <Button kind="main" act={save} disabled={!isChanged || isConflict}>
          Save
        </Button>
        <span class="quiet" role="status">
          {isConflict ? "" : isChanged ? "Not saved yet; kept in this tab." : "Saved."}
        </span>
      </div>
      <Problem error={error} />
      {isConflict && (
        <section class="problem" aria-label="The file has changed">
          <p>Somebody has changed this file since you opened it. What you typed is kept.</p>
          <div class="row">
            <Confirm
              label="Take theirs"
              title="Take theirs?"
              says="What you typed in this file goes."
              act={takeTheirs}
            />
            <Confirm
              label="Keep mine"
              title="Keep mine?"
              says="The file becomes what you typed; what they changed goes."
              act={async () => {
                await write((await call<ProjectFile>("GET", projectPath(slug, "files", path))).sha256);
              }}
            />
          </div>
        </section>
      )}
      <div class="editor" ref={host}></div>
    </>
  );
}
