import { useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { call } from "../api.ts";
import { useDraft } from "../draft.ts";
import { useLive } from "../live.ts";
import { Button } from "../parts/button.tsx";
import { Empty } from "../parts/empty.tsx";
import { Field } from "../parts/field.tsx";
import { Loading } from "../parts/loading.tsx";
import { Tabs } from "../parts/tabs.tsx";
import { AgentChoice, useAgents } from "../project/agent-choice.tsx";
import { visible } from "../project/ansi.ts";
import { newKey, type ProjectSummary, type RunnerSummary } from "../project/api.ts";
import { navigate } from "../router.tsx";

const STARTERS: readonly (readonly [string, string])[] = [
  ["", "What fits the prompt"],
  ["static", "Plain HTML"],
  ["vite-react", "React with Vite"],
  ["next", "Next.js"],
  ["astro", "Astro"],
  ["tanstack-start", "TanStack Start"],
  ["hono-api", "API with Hono"],
];

/** Makes a project from a prompt, or from a git repository. */
export function NewProject(): JSX.Element {
  const runners = useLive("runner:*", (signal) =>
    call<{ runners: RunnerSummary[] }>("GET", "/runners", undefined, { signal }),
  );
  const [way, setWay] = useState("prompt");
  const online = (runners.value?.runners ?? []).filter(({ connected }) => connected);
  return (
    <>
      <h1>New project</h1>
      <Loading of={runners} />
      {runners.value !== undefined && online.length === 0 ? (
        <Empty title="No runner is there. A project lives on one." command="npx signalbox runner" />
      ) : (
        <>
          <Tabs
            label="What it begins with"
            tabs={[
              ["prompt", "From a prompt"],
              ["git", "From a git repository"],
            ]}
            chosen={way}
            onChoose={setWay}
          />
          <Form key={way} isImport={way === "git"} runners={online.map(({ id }) => id)} />
        </>
      )}
    </>
  );
}

function Form({ isImport, runners }: { isImport: boolean; runners: string[] }): JSX.Element {
  const [prompt, setPrompt] = useDraft("new-project-prompt");
  const [git, setGit] = useDraft("new-project-git");
  const [branch, setBranch] = useState("");
  const [token, setToken] = useState("");
  const [name, setName] = useDraft("new-project-name");
  const [slug, setSlug] = useDraft("new-project-slug");
  const [runnerId, setRunnerId] = useState("");
  const [agent, setAgent] = useState("");
  const [starter, setStarter] = useState("");
  const key = useRef({ asked: "", value: "" });
  const all = useAgents(runners);
  const takesStarter = isTemplate(agent, runnerId, all);
  const chooseAgent = (chosen: string): void => {
    setAgent(chosen);
    const ready = all.filter(({ agents }) => agents.some((one) => one.name === chosen && one.fault === null));
    // The least loaded one may lack it.
    if (runnerId === "" && chosen !== "" && ready.length > 0 && ready.length < runners.length)
      setRunnerId(ready[0]?.runnerId ?? "");
  };
  const make = async (): Promise<void> => {
    const body = {
      ...(name !== "" && { name }),
      ...(slug !== "" && { slug }),
      ...(runnerId !== "" && { runnerId }),
      ...(agent !== "" && { agent }),
      ...(isImport
        ? {
            source: { git: git.trim(), ...(branch !== "" && { branch }) },
            ...(token !== "" && { env: [{ name: "GIT_TOKEN", value: token, secret: true, for: "git" }] }),
          }
        : {
            prompt: takesStarter && starter !== "" ? `${prompt.trim()}\nStarter: ${starter}` : prompt.trim(),
          }),
    };
    const asked = JSON.stringify(body);
    if (key.current === null || key.current.asked !== asked) key.current = { asked, value: newKey() };
    const made = await call<ProjectSummary>("POST", "/projects", body, { idempotencyKey: key.current.value });
    for (const forget of [setPrompt, setGit, setName, setSlug]) forget("");
    navigate("projects", made.slug);
  };
  const runnerOptions: [string, string][] = [
    ["", "The least loaded"],
    ...runners.map((id): [string, string] => [id, visible(id)]),
  ];
  return (
    <form class="panel" onSubmit={(event: Event) => event.preventDefault()}>
      {isImport ? (
        <>
          <Field
            label="Address"
            value={git}
            onInput={setGit}
            type="url"
            placeholder="https://github.com/you/bakery"
            required
          />
          <Field
            label="Branch"
            value={branch}
            onInput={setBranch}
            hint="Without one, the repository's own."
          />
          <Field
            label="Token"
            value={token}
            onInput={setToken}
            type="password"
            hint="For a private repository. It is kept on the runner, and nothing shows it again."
          />
        </>
      ) : (
        <Field
          label="What shall it be?"
          value={prompt}
          onInput={setPrompt}
          rows={5}
          placeholder="a landing page for a bakery"
          required
        />
      )}
      <div class="columns">
        {!isImport && (
          <AgentChoice
            runnerIds={runnerId === "" ? runners : [runnerId]}
            value={agent}
            onChoose={chooseAgent}
            first="The runner's own choice"
          />
        )}
        <Field label="Runner" value={runnerId} onInput={setRunnerId} options={runnerOptions} />
        {!isImport && takesStarter && (
          <Field label="Template" value={starter} onInput={setStarter} options={STARTERS} />
        )}
        <Field label="Name" value={name} onInput={setName} hint="Without one, from what it begins with." />
        <Field label="Slug" value={slug} onInput={setSlug} hint="The preview's host begins with it." />
      </div>
      <Button kind="main" act={make} disabled={(isImport ? git : prompt).trim() === ""}>
        {isImport ? "Import it" : "Make it"}
      </Button>
    </form>
  );
}

/** Whether the agent that would build it is the one that picks starters. */
function isTemplate(agent: string, runnerId: string, all: ReturnType<typeof useAgents>): boolean {
  if (agent !== "") return agent === "template";
  const asked = runnerId === "" ? all : all.filter((one) => one.runnerId === runnerId);
  return asked.some(({ agents }) => agents.some(({ name, isDefault }) => isDefault && name === "template"));
}
