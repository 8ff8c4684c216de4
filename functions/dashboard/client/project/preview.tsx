import { useEffect, useRef, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { isOver } from "../../../protocol/builds.ts";
import { call } from "../api.ts";
import { Button } from "../parts/button.tsx";
import { Empty } from "../parts/empty.tsx";
import { Problem } from "../parts/problem.tsx";
import { AnsiText } from "./ansi-text.tsx";
import { visible } from "./ansi.ts";
import { projectPath, type PreviewLink, type ProjectDetails } from "./api.ts";
import { Share } from "./share.tsx";

/** As long as a sign-in. */
const VISIT_SECONDS = 12 * 60 * 60;
const WIDTHS = [
  ["phone", "Phone"],
  ["tablet", "Tablet"],
  ["desktop", "Desktop"],
] as const;

/** The project as its visitors see it, in a frame that can't reach this page. */
export function Preview({
  project,
  onRepair,
}: {
  project: ProjectDetails;
  onRepair: (prompt: string) => void;
}): JSX.Element {
  const { slug, previewUrl } = project;
  const [width, setWidth] = useState<string>("desktop");
  const [source, setSource] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const frame = useRef<HTMLIFrameElement>(null);
  const server = project.runner?.devServer;
  // Each starts the server again, and not every page notices by itself.
  const ended = project.runner?.builds.filter(({ state }) => isOver(state)).length;
  const refresh = async (): Promise<void> => {
    setError(null);
    const { url } = await call<PreviewLink>("POST", projectPath(slug, "preview"), { seconds: VISIT_SECONDS });
    setSource(url);
    // The same address loads nothing anew.
    if (frame.current !== null) frame.current.src = url;
  };
  useEffect(() => {
    if (previewUrl !== null) refresh().catch(setError);
  }, [slug, previewUrl, project.public, server?.state === "running", server?.port, ended]);
  if (previewUrl === null) {
    return (
      <Empty
        title="There are no previews on this Signalbox."
        command="npx wrangler secret put PREVIEW_DOMAIN"
      >
        <p>Set PREVIEW_DOMAIN to a domain whose names lead to the Worker.</p>
      </Empty>
    );
  }
  return (
    <div class="preview">
      <div class="row apart">
        <div class="row" role="group" aria-label="Width of the preview">
          {WIDTHS.map(([name, words]) => (
            <button
              type="button"
              aria-pressed={name === width ? "true" : "false"}
              onClick={() => setWidth(name)}
            >
              {words}
            </button>
          ))}
        </div>
        <div class="row">
          <Button act={refresh}>Refresh</Button>
          {source !== null && (
            <a class="button" href={source} target="_blank" rel="noopener noreferrer">
              Open
            </a>
          )}
          <Share project={project} onRevoked={refresh} />
        </div>
      </div>
      <Server project={project} onRepair={onRepair} />
      <Problem error={error} />
      <div class={`frame ${width}`}>
        <iframe
          ref={frame}
          title={`Preview of ${visible(project.name)}`}
          sandbox="allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-popups-to-escape-sandbox allow-downloads"
        ></iframe>
      </div>
    </div>
  );
}

/** The dev server where it isn't running, with its own words. */
function Server({
  project: { slug, runner },
  onRepair,
}: {
  project: ProjectDetails;
  onRepair: (prompt: string) => void;
}): JSX.Element | null {
  if (runner === null) return null;
  const { state, reason, lastLines } = runner.devServer;
  const start = (): Promise<unknown> => call("POST", projectPath(slug, "dev-server"));
  if (state === "running") return null;
  if (state !== "crashed") {
    return (
      <p class="quiet" role="status">
        The dev server {state === "starting" ? "is starting." : "is stopped. A visit starts it."}
      </p>
    );
  }
  const prompt = `The dev server doesn't run: ${reason ?? "it ended"}\nIts last lines:\n${lastLines.join("\n")}\nMend it.`;
  return (
    <section class="problem" aria-label="The dev server">
      <p>The dev server doesn't run: {visible(reason ?? "it ended")}</p>
      {lastLines.length > 0 && <AnsiText text={lastLines.join("\n")} label="Its last lines" />}
      <div class="row">
        <Button kind="main" act={() => onRepair(prompt)}>
          Repair this
        </Button>
        <Button act={start}>Start it again</Button>
      </div>
    </section>
  );
}
