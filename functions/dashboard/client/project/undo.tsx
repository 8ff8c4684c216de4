import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { UndoView } from "../../../protocol/builds.ts";
import { ApiProblem, call } from "../api.ts";
import { Button } from "../parts/button.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { visible } from "./ansi.ts";
import { projectPath } from "./api.ts";

/** Takes back what a build changed. What somebody has changed since is named first, and never taken unasked. */
export function Undo({ slug, build }: { slug: string; build: string }): JSX.Element {
  const [open, setOpen] = useState(false);
  const [conflict, setConflict] = useState<string | null>(null);
  const [done, setDone] = useState<UndoView | null>(null);
  const close = (): void => {
    setOpen(false);
    setConflict(null);
    setDone(null);
  };
  const undo = async (changed: "refuse" | "keep" | "overwrite"): Promise<void> => {
    try {
      setDone(await call<UndoView>("POST", projectPath(slug, "undo"), { build, changed }));
    } catch (error) {
      if (!(error instanceof ApiProblem) || error.code !== "changed_since") throw error;
      setConflict(error.message);
    }
  };
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Undo
      </button>
      {open && (
        <Dialog title="Undo this build?" onClose={close}>
          {done !== null ? (
            <>
              <p role="status">
                {done.restored.length} files are as they were before.
                {done.kept.length > 0 && ` Left as they are: ${done.kept.map(visible).join(", ")}.`}
              </p>
              <div class="row end">
                <Button kind="main" act={close}>
                  Close
                </Button>
              </div>
            </>
          ) : (
            <>
              <p>
                {conflict === null
                  ? "Files that it changed become what they were before it."
                  : visible(conflict)}
              </p>
              <div class="row end">
                <Button kind="quiet" act={close}>
                  Cancel
                </Button>
                {conflict === null ? (
                  <Button kind="main" act={() => undo("refuse")}>
                    Undo
                  </Button>
                ) : (
                  <>
                    <Button act={() => undo("overwrite")} kind="danger">
                      Take those back, too
                    </Button>
                    <Button act={() => undo("keep")} kind="main">
                      Keep those as they are
                    </Button>
                  </>
                )}
              </div>
            </>
          )}
        </Dialog>
      )}
    </>
  );
}
