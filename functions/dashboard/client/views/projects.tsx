import { useEffect, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { call } from "../api.ts";
import { useLive } from "../live.ts";
import { Dot } from "../parts/dot.tsx";
import { Empty } from "../parts/empty.tsx";
import { Loading } from "../parts/loading.tsx";
import { Problem } from "../parts/problem.tsx";
import { Since } from "../parts/since.tsx";
import { visible } from "../project/ansi.ts";
import { buildTones, buildWords, readProject, type ProjectSummary } from "../project/api.ts";
import { Link } from "../router.tsx";
import "../project/project.css";

/** No project's slug begins so. */
export const NEW = "~new";
const PAGE = 50;

/** `rest` is what follows `/_signalbox/projects/`. */
export function Projects({ rest: [slug, ...rest] }: { rest: string[] }): JSX.Element {
  if (slug === undefined) return <List />;
  return (
    <Later
      key={slug === NEW ? NEW : `project ${slug}`}
      load={async () => {
        const { NewProject, ProjectPage } = await import("./projects-pages.tsx");
        return (more: string[]) => (slug === NEW ? <NewProject /> : <ProjectPage slug={slug} rest={more} />);
      }}
      rest={rest}
    />
  );
}

/** A view that isn't part of the first load. */
function Later({
  load,
  rest,
}: {
  load: () => Promise<(rest: string[]) => JSX.Element>;
  rest: string[];
}): JSX.Element {
  const [view, setView] = useState<{ show: (rest: string[]) => JSX.Element } | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    load().then((show) => setView({ show }), setError);
  }, []);
  if (error !== null) return <Problem error={error} />;
  return view === null ? <p role="status">Loading…</p> : view.show(rest);
}

function List(): JSX.Element {
  const [pages, setPages] = useState(1);
  const projects = useLive(
    "project:*",
    (signal) =>
      call<{ projects: ProjectSummary[] }>(
        "GET",
        `/projects?limit=${Math.min(500, PAGE * pages)}`,
        undefined,
        {
          signal,
        },
      ),
    `projects ${pages}`,
  );
  const all = projects.value?.projects ?? [];
  return (
    <>
      <div class="row apart">
        <h1>Projects</h1>
        <Link to={["projects", NEW]} class="button main">
          New project
        </Link>
      </div>
      <Loading of={projects} />
      {projects.value !== undefined && all.length === 0 && (
        <Empty
          title="No projects yet. One is made from a prompt."
          command='npx signalbox projects create --prompt "a landing page for a bakery" --open'
        >
          <p>
            <Link to={["projects", NEW]}>Make one here</Link>, or in a terminal:
          </p>
        </Empty>
      )}
      <ul class="project-list">
        {all.map((project) => (
          <Row key={project.slug} project={project} />
        ))}
      </ul>
      {all.length === PAGE * pages && (
        <button type="button" onClick={() => setPages(pages + 1)}>
          Show more
        </button>
      )}
    </>
  );
}

/** Its runner says the rest, each for itself. */
function Row({ project: { slug, name, runnerId, previewUrl } }: { project: ProjectSummary }): JSX.Element {
  const details = useLive(`project:${slug}`, (signal) => readProject(slug, signal));
  const runner = details.value?.runner;
  const last = runner?.builds.toSorted((one, other) => one.createdAt.localeCompare(other.createdAt)).at(-1);
  const server = runner?.devServer.state;
  const tone =
    runner == null
      ? "off"
      : server === "crashed"
        ? "bad"
        : last !== undefined && buildTones[last.state] !== "good"
          ? buildTones[last.state]
          : server === "running"
            ? "good"
            : "off";
  const says =
    details.value === undefined
      ? "Not asked yet"
      : runner == null
        ? "Its runner is away"
        : `Dev server ${server ?? ""}`;
  return (
    <li>
      <Dot tone={tone} label={says} />
      <div>
        <Link to={["projects", slug]}>{visible(name)}</Link>
        <small class="quiet">
          {slug} on {visible(runnerId)}
          {runner != null && `, ${visible(runner.agent)}`}
        </small>
      </div>
      <div>
        {last !== undefined && (
          <>
            {buildWords[last.state]} <Since at={last.updatedAt} /> ago
            <small class="quiet">{visible(last.prompt.split("\n")[0]?.slice(0, 80) ?? "")}</small>
          </>
        )}
        {details.value?.runner === null && <span class="quiet">{visible(details.value.detail ?? says)}</span>}
      </div>
      <small class="quiet">{previewUrl}</small>
    </li>
  );
}
