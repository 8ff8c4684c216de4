import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { GitDiff, GitState } from "../../../protocol/project-git.ts";
import { call } from "../api.ts";
import { useDraft } from "../draft.ts";
import { useLive } from "../live.ts";
import { Button } from "../parts/button.tsx";
import { Confirm } from "../parts/confirm.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { Empty } from "../parts/empty.tsx";
import { Field } from "../parts/field.tsx";
import { Loading } from "../parts/loading.tsx";
import { Since } from "../parts/since.tsx";
import { visible } from "./ansi.ts";
import { projectPath } from "./api.ts";
import { DiffText } from "./diff-text.tsx";

/** The project's repository and its remote. */
export function Git({ slug }: { slug: string }): JSX.Element {
  const git = useLive(`project:${slug}`, (signal) =>
    call<GitState>("GET", projectPath(slug, "git"), undefined, { signal }),
  );
  const [message, setMessage] = useDraft(`commit:${slug}`);
  const state = git.value;
  const act = async (name: string, body?: unknown): Promise<void> => {
    await call("POST", projectPath(slug, "git", name), body);
    git.reload();
  };
  const withMessage = async (name: string): Promise<void> => {
    await act(name, message === "" ? {} : { message });
    setMessage("");
  };
  if (state === undefined) return <Loading of={git} />;
  if (!state.isRepository) {
    return (
      <>
        <Loading of={git} />
        <Empty title="This project isn't a git repository." command={`npx signalbox git push ${slug}`}>
          <Button kind="main" act={() => act("init")}>
            Make it one
          </Button>
        </Empty>
        <Remote slug={slug} state={state} onSet={git.reload} />
      </>
    );
  }
  const where = `${state.remote ?? ""} (${state.branch})`;
  return (
    <>
      <Loading of={git} />
      <section class="panel">
        <div class="row apart">
          <h2>Changes since the last commit</h2>
          <Diff slug={slug} />
        </div>
        <p class="quiet">
          {state.commit === null ? (
            "No commit yet."
          ) : (
            <>
              <code>{state.commit.slice(0, 10)}</code> {visible(state.subject ?? "")}
            </>
          )}
        </p>
        {state.changes.length === 0 ? (
          <p>Nothing changed.</p>
        ) : (
          <ul class="names">
            {state.changes.map(({ status, path }) => (
              <li key={path}>
                <code>
                  {status} {visible(path)}
                </code>
              </li>
            ))}
            {state.truncated && <li class="quiet">and more</li>}
          </ul>
        )}
        <Field label="Message" value={message} onInput={setMessage} rows={2} />
        <div class="row">
          <Button act={() => withMessage("commit")} disabled={message === "" || state.changes.length === 0}>
            Commit everything
          </Button>
          <Confirm
            label="Push"
            title="Push?"
            says={`${message === "" ? "Pushes what is committed" : "Commits everything, and pushes it"} to ${where}. It never forces.`}
            disabled={state.remote === null}
            kind="main"
            act={() => withMessage("push")}
          />
          <Confirm
            label="Sync"
            title="Sync?"
            says={`Merges what ${where} has into the project. A conflict changes nothing.`}
            disabled={state.remote === null}
            act={() => act("sync")}
          />
        </div>
        {state.lastPush !== null && (
          <p class={state.lastPush.error === null ? "quiet" : "bad"}>
            Last push <Since at={state.lastPush.at} /> ago
            {state.lastPush.error === null ? "." : `: ${visible(state.lastPush.error)}`}
          </p>
        )}
      </section>
      <Remote slug={slug} state={state} onSet={git.reload} />
    </>
  );
}

function Remote({ slug, state, onSet }: { slug: string; state: GitState; onSet: () => void }): JSX.Element {
  const [remote, setRemote] = useState(state.remote ?? "");
  const [branch, setBranch] = useState(state.branch);
  const [after, setAfter] = useState(state.pushAfterBuild);
  const save = async (): Promise<void> => {
    const body = { remote: remote.trim() === "" ? null : remote.trim(), branch, pushAfterBuild: after };
    await call("PUT", projectPath(slug, "git"), body);
    onSet();
  };
  return (
    <form class="panel" onSubmit={(event: Event) => event.preventDefault()}>
      <h2>Remote</h2>
      <Field
        label="Address"
        value={remote}
        onInput={setRemote}
        placeholder="https://github.com/you/bakery"
        hint="Without a login: set GIT_TOKEN for git among the variables."
      />
      <Field label="Branch" value={branch} onInput={setBranch} />
      <label class="check">
        <input
          type="checkbox"
          checked={after}
          onChange={(event: Event) => setAfter((event.target as HTMLInputElement).checked)}
        />{" "}
        Push after each build that brought the project up
      </label>
      <Button act={save}>Save</Button>
    </form>
  );
}

function Diff({ slug }: { slug: string }): JSX.Element {
  const [diff, setDiff] = useState<GitDiff | null>(null);
  const load = async (): Promise<void> =>
    setDiff(await call<GitDiff>("GET", projectPath(slug, "git", "diff")));
  return (
    <>
      <Button act={load}>Show the diff</Button>
      {diff !== null && (
        <Dialog title="Changes since the last commit" wide onClose={() => setDiff(null)}>
          {diff.diff === "" ? <p>Nothing changed.</p> : <DiffText text={diff.diff} label="The diff" />}
          {diff.truncated && <p class="quiet">There is more than is shown.</p>}
        </Dialog>
      )}
    </>
  );
}
