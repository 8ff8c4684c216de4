import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { call, callRaw } from "../api.ts";
import { useLive } from "../live.ts";
import { Button } from "../parts/button.tsx";
import { Confirm } from "../parts/confirm.tsx";
import { Field } from "../parts/field.tsx";
import { navigate } from "../router.tsx";
import { visible } from "./ansi.ts";
import { projectPath, type ProjectDetails, type ProjectSummary, type RunnerSummary } from "./api.ts";

/** Its name, where it is, a copy of it, its end. */
export function Settings({
  project,
  onChange,
}: {
  project: ProjectDetails;
  onChange: () => void;
}): JSX.Element {
  return (
    <>
      <Names project={project} onChange={onChange} />
      <Move project={project} onChange={onChange} />
      <section class="panel">
        <h2>Export</h2>
        <p>Files and repository as a gzipped tar, without packages, caches and variables.</p>
        <Button act={() => download(project.slug)}>Export</Button>
      </section>
      <Remove project={project} />
    </>
  );
}

function Names({ project, onChange }: { project: ProjectDetails; onChange: () => void }): JSX.Element {
  const [name, setName] = useState(project.name);
  const [slug, setSlug] = useState(project.slug);
  const hasNewSlug = slug !== project.slug;
  const save = async (): Promise<void> => {
    const changed = await call<ProjectSummary>("PATCH", projectPath(project.slug), {
      name,
      ...(hasNewSlug && { slug }),
    });
    if (hasNewSlug) navigate("projects", changed.slug, "settings");
    else onChange();
  };
  return (
    <section class="panel">
      <h2>Name</h2>
      <Field label="Name" value={name} onInput={setName} />
      <Field label="Slug" value={slug} onInput={setSlug} hint="The preview's host begins with it." />
      <Confirm
        label="Rename"
        title="Rename this project?"
        says={
          hasNewSlug
            ? `The preview's host becomes ${slug}; links to the old one end. Builds keep their ids.`
            : "Its name changes; its slug and the preview's address stay."
        }
        disabled={name === "" || (name === project.name && !hasNewSlug)}
        act={save}
      />
    </section>
  );
}

function Move({ project, onChange }: { project: ProjectDetails; onChange: () => void }): JSX.Element {
  const runners = useLive("runner:*", (signal) =>
    call<{ runners: RunnerSummary[] }>("GET", "/runners", undefined, { signal }),
  );
  const others = (runners.value?.runners ?? []).filter(
    ({ id, connected }) => connected && id !== project.runnerId,
  );
  const [to, setTo] = useState("");
  const options: [string, string][] = [
    ["", others.length === 0 ? "No other runner is there" : "Choose a runner"],
    ...others.map(({ id }): [string, string] => [id, visible(id)]),
  ];
  return (
    <section class="panel">
      <h2>Move</h2>
      <Field label="To" value={to} onInput={setTo} options={options} />
      <Confirm
        label="Move"
        title={`Move to ${visible(to)}?`}
        says="Files, repository, variables and remote go along; the builds so far stay behind, and the dev server starts anew there."
        disabled={to === ""}
        act={async () => {
          await call("POST", projectPath(project.slug, "move"), { runnerId: to });
          setTo("");
          onChange();
        }}
      />
    </section>
  );
}

function Remove({ project: { slug, name } }: { project: ProjectDetails }): JSX.Element {
  const [typed, setTyped] = useState("");
  return (
    <section class="panel">
      <h2>Delete</h2>
      <p>Its files, processes, logs, builds and previews go. Export it first if you may want it back.</p>
      <Field label={`Type ${slug} to delete it`} value={typed} onInput={setTyped} />
      <Confirm
        label="Delete"
        title={`Delete ${visible(name)}?`}
        says="Its files, processes, logs, builds and previews go for good."
        kind="danger"
        disabled={typed !== slug}
        act={async () => {
          await call("DELETE", projectPath(slug));
          navigate("projects");
        }}
      />
    </section>
  );
}

async function download(slug: string): Promise<void> {
  const answer = await callRaw(projectPath(slug, "export"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${slug}.tgz`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
