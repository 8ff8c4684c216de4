import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App, Deployment, Target } from "../../api-types.ts";
import { call } from "../../api.ts";
import { useDraft } from "../../draft.ts";
import { Button } from "../../parts/button.tsx";
import { Copy } from "../../parts/copy.tsx";
import { Field } from "../../parts/field.tsx";
import { navigate } from "../../router.tsx";
import { whereOf } from "../../words.ts";
import { appPath } from "./path.ts";
import { deployCommand, isLocal, loginCommand } from "./commands.ts";

/** A new version: by a command that sends a source, or from here by what is there already. */
export function NewDeployment({ app }: { app: App }): JSX.Element {
  return (
    <div class="two">
      <section class="panel">
        <h2>From a directory</h2>
        <p>
          Change something in its source, then run this in a terminal where the source is. It packs the
          directory, rolls it out and shows how it goes; so does this page.
        </p>
        <Copy text={deployCommand(app.name)} />
        {!isLocal() && (
          <>
            <p class="quiet">Once on a new machine:</p>
            <Copy text={loginCommand()} />
          </>
        )}
      </section>
      <section class="panel">
        <h2>From what is there</h2>
        <TargetForm app={app} />
      </section>
    </div>
  );
}

type Kind = "again" | "url" | "image";

function TargetForm({ app }: { app: App }): JSX.Element {
  const again = app.deployments.filter(
    ({ target }) => !(target.kind === "railway" && target.upload === true),
  );
  const [kind, setKind] = useState<Kind>(again.length > 0 ? "again" : "url");
  const [from, setFrom] = useState(app.active ?? again[0]?.id ?? "");
  const [url, setUrl] = useDraft(`new:${app.name}:url`);
  const [image, setImage] = useDraft(`new:${app.name}:image`);
  const [id, setId] = useDraft(`new:${app.name}:id`);
  const [promote, setPromote] = useState(true);
  const target = (): Target => {
    if (kind === "url") return { kind: "url", url };
    if (kind === "image") return { kind: "railway", image };
    const found = again.find((one) => one.id === from);
    if (found === undefined) throw new Error(`There is no deployment ${from} any more.`);
    return found.target;
  };
  const rollOut = async (): Promise<void> => {
    const body = { target: target(), promote, ...(id === "" ? {} : { id }) };
    const made = await call<Deployment>("POST", appPath(app.name, "/deployments"), body);
    for (const forget of [setUrl, setImage, setId]) forget("");
    navigate("apps", app.name, "deployments", made.id);
  };
  const kinds: [Kind, string][] = [
    ...(again.length > 0 ? ([["again", "The same as another version"]] as [Kind, string][]) : []),
    ["url", "A backend that runs already"],
    ["image", "An image on Railway"],
  ];
  return (
    <>
      <Field label="What" value={kind} onInput={(value) => setKind(value as Kind)} options={kinds} />
      {kind === "again" && (
        <Field
          label="Version"
          value={from}
          onInput={setFrom}
          options={again.map((one) => [one.id, `${one.id} (${one.state}, ${whereOf(one.target)})`] as const)}
          hint="Its source, commands and variables, as a version of its own"
        />
      )}
      {kind === "url" && (
        <Field label="Address" type="url" value={url} onInput={setUrl} placeholder="https://v2.example.com" />
      )}
      {kind === "image" && (
        <Field label="Image" value={image} onInput={setImage} placeholder="ghcr.io/owner/name:tag" />
      )}
      <Field
        label="Id of the new version"
        value={id}
        onInput={setId}
        hint="Lower-case letters, digits and hyphens. Without one, its name and the time"
      />
      <label class="check">
        <input
          type="checkbox"
          checked={promote}
          onChange={(event: Event) => setPromote((event.target as HTMLInputElement).checked)}
        />{" "}
        Promote it once it is verified
      </label>
      <p class="quiet">
        {promote
          ? `The new version is started and checked. Then new visitors get it${app.active === null ? "" : `, open pages stay on ${app.active}, and ${app.active} drains`}.`
          : "The new version is started and checked, then waits: nobody gets it until you promote it."}
      </p>
      <div class="row end">
        <Button kind="main" act={rollOut}>
          Roll out
        </Button>
      </div>
    </>
  );
}
