import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { BuildView } from "../../../protocol/builds.ts";
import { call } from "../api.ts";
import { useDraft } from "../draft.ts";
import { useLive } from "../live.ts";
import { Dot } from "../parts/dot.tsx";
import { Empty } from "../parts/empty.tsx";
import { Loading } from "../parts/loading.tsx";
import { Since } from "../parts/since.tsx";
import { Tabs } from "../parts/tabs.tsx";
import { visible } from "../project/ansi.ts";
import { openBuilds, readProject, type ProjectDetails, type RunnerSummary } from "../project/api.ts";
import { BuildCard } from "../project/build-card.tsx";
import { Composer } from "../project/composer.tsx";
import { Environment } from "../project/environment.tsx";
import { Files } from "../project/files.tsx";
import { Git } from "../project/git.tsx";
import { Logs } from "../project/logs.tsx";
import { Preview } from "../project/preview.tsx";
import { Settings } from "../project/settings.tsx";
import { Link, navigate } from "../router.tsx";

const TABS = [
  ["build", "Build"],
  ["preview", "Preview"],
  ["files", "Files"],
  ["logs", "Logs"],
  ["environment", "Environment"],
  ["git", "Git"],
  ["settings", "Settings"],
] as const;
/** Builds that are in the page at first. */
const BUILDS_SHOWN = 10;

/** One project. `rest` is the tab, and of the files the open one's path. */
export function ProjectPage({
  slug,
  rest: [tab = "build", ...rest],
}: {
  slug: string;
  rest: string[];
}): JSX.Element {
  const project = useLive(`project:${slug}`, (signal) => readProject(slug, signal));
  const [text, setText] = useDraft(`prompt:${slug}`);
  const [agent, setAgent] = useState("");
  const known = useKnown(project.value);
  const repair = (prompt: string): void => {
    setText(text === "" ? prompt : `${text}\n\n${prompt}`);
    navigate("projects", slug);
  };
  if (known === null) {
    return (
      <>
        <h1>{slug}</h1>
        <Loading of={project} />
        {project.problem?.code === "unknown_project" && (
          <p>
            <Link to={["projects"]}>All projects</Link>
          </p>
        )}
      </>
    );
  }
  return (
    <div class="project">
      <Head
        project={known}
        isAway={project.value?.runner === null}
        detail={project.value?.detail}
        onPresence={project.reload}
      />
      <Loading of={project} />
      <Tabs
        label="Parts of the project"
        tabs={TABS}
        chosen={tab}
        onChoose={(name) => navigate("projects", slug, ...(name === "build" ? [] : [name]))}
      />
      <div role="tabpanel" id={`panel-${tab}`} aria-labelledby={`tab-${tab}`}>
        {tab === "build" && (
          <div class="workbench">
            <Conversation
              project={known}
              composer={
                <Composer
                  slug={slug}
                  runnerId={known.runnerId}
                  agent={known.runner?.agent ?? null}
                  open={openBuilds(known.runner?.builds ?? []).length}
                  text={text}
                  onText={setText}
                  chosen={agent}
                  onChoose={setAgent}
                  onSent={project.reload}
                />
              }
              onChange={project.reload}
            />
            <Beside>{() => <Preview project={known} onRepair={repair} />}</Beside>
          </div>
        )}
        {tab === "preview" && <Preview project={known} onRepair={repair} />}
        {tab === "files" && <Files slug={slug} open={rest.join("/")} />}
        {tab === "logs" && <Logs slug={slug} />}
        {tab === "environment" && <Environment slug={slug} />}
        {tab === "git" && <Git slug={slug} />}
        {tab === "settings" && <Settings project={known} onChange={project.reload} />}
      </div>
    </div>
  );
}

/** While the runner is away, what it said last is shown. */
function useKnown(value: ProjectDetails | undefined): ProjectDetails | null {
  const last = useRef<ProjectDetails | null>(null);
  if (value !== undefined) {
    const before = last.current;
    last.current = value.runner === null && before !== null ? { ...value, runner: before.runner } : value;
  }
  return last.current;
}

const CONFINED = { sandbox: "in a sandbox", user: "as a system user of its own", none: "not confined" };

/** The second truth: whether the runner is there. */
function Head({
  project: { name, slug, runnerId, runner },
  isAway,
  detail,
  onPresence,
}: {
  project: ProjectDetails;
  isAway: boolean;
  detail: string | undefined;
  onPresence: () => void;
}): JSX.Element {
  const host = useLive(`runner:${runnerId}`, (signal) =>
    call<RunnerSummary>("GET", `/runners/${encodeURIComponent(runnerId)}`, undefined, { signal }),
  );
  const level = host.value?.confinement?.level;
  // Its presence isn't the project's: what it says of the project has to be asked anew.
  const presence = useRef<boolean | undefined>(undefined);
  useEffect(() => {
    const now = host.value?.connected;
    if (presence.current !== undefined && now !== undefined && presence.current !== now) onPresence();
    presence.current = now ?? presence.current ?? undefined;
  }, [host.value?.connected]);
  return (
    <>
      <div class="row apart">
        <h1>{visible(name)}</h1>
        <p class="quiet">
          <Dot tone={isAway ? "off" : "good"} label={isAway ? "away" : "there"} /> {slug} on{" "}
          <Link to={["runners", runnerId]}>{visible(runnerId)}</Link>
          {runner !== null && `, ${visible(runner.framework ?? "no framework yet")}`}
          {level !== undefined && `, ${CONFINED[level]}`}
        </p>
      </div>
      {isAway && (
        <p class="notice" role="status">
          The runner {visible(runnerId)} is away
          {host.value !== undefined && !host.value.connected && (
            <>
              {" "}
              since <Since at={host.value.since} />
            </>
          )}
          {detail !== undefined && `: ${visible(detail)}`} What you see is what it said last.
        </p>
      )}
    </>
  );
}

function Conversation({
  project: { slug, runner },
  composer,
  onChange,
}: {
  project: ProjectDetails;
  composer: JSX.Element;
  onChange: () => void;
}): JSX.Element {
  const [shown, setShown] = useState(BUILDS_SHOWN);
  const box = useRef<HTMLDivElement>(null);
  const builds = (runner?.builds ?? []).toSorted(byTime);
  const from = Math.max(0, builds.length - shown);
  useAtEnd(box);
  const last = builds.at(-1);
  return (
    <section class="conversation" aria-label="Builds">
      <div class="chat" ref={box} tabIndex={0} role="region" aria-label="Conversation">
        <div>
          {from > 0 && (
            <button type="button" class="quiet" onClick={() => setShown(shown + BUILDS_SHOWN)}>
              Show earlier builds ({from} more)
            </button>
          )}
          {runner !== null && builds.length === 0 && (
            <Empty
              title="No builds yet. Say below what it shall be."
              command={`npx signalbox build ${slug} "…"`}
            />
          )}
          {builds.slice(from).map((build) => (
            <BuildCard
              key={build.id}
              build={build}
              slug={slug}
              isOpen={build.id === last?.id || openBuilds([build]).length > 0}
              onEvent={({ type }) => {
                if (type === "state" || type === "preview") onChange();
              }}
            />
          ))}
        </div>
      </div>
      {composer}
    </section>
  );
}

function byTime(one: BuildView, other: BuildView): number {
  return one.createdAt.localeCompare(other.createdAt);
}

/** Keeps a box at the end of what it holds while its reader is there. */
function useAtEnd(box: { current: HTMLDivElement | null }): void {
  useEffect(() => {
    const { current } = box;
    const content = current?.firstElementChild;
    if (current === null || content == null) return;
    let isAtEnd = true;
    const look = (): void => {
      isAtEnd = current.scrollTop + current.clientHeight >= current.scrollHeight - 40;
    };
    const stay = new ResizeObserver(() => {
      if (isAtEnd) current.scrollTop = current.scrollHeight;
    });
    current.addEventListener("scroll", look);
    stay.observe(content);
    return () => {
      stay.disconnect();
      current.removeEventListener("scroll", look);
    };
  }, []);
}

/** Shown beside the conversation where there is room for both. */
function Beside({ children }: { children: () => JSX.Element }): JSX.Element | null {
  const [isWide, setIsWide] = useState(matchMedia(WIDE).matches);
  useEffect(() => {
    const media = matchMedia(WIDE);
    const listener = (): void => setIsWide(media.matches);
    media.addEventListener("change", listener);
    return () => media.removeEventListener("change", listener);
  }, []);
  return isWide ? <aside aria-label="Preview">{children()}</aside> : null;
}

const WIDE = "(min-width: 72rem)";
