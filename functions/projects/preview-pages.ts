import { escapeHtml, Problem } from "../errors.ts";
import type { ProjectView } from "../protocol/builds.ts";

/** A page that says why there is nothing to see yet, and looks again by itself. */
export function waitingPage(name: string, view: ProjectView | Problem, port: number | null): Response {
  const { title, text, lines } = told(view, port);
  const output = lines.length === 0 ? "" : `<pre>${escapeHtml(lines.join("\n"))}</pre>`;
  const body = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="2">
<title>${escapeHtml(name)}: ${escapeHtml(title)}</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 20vh auto 0; padding: 0 1.5rem; color: #26282e }
  h1 { font-size: 1.25rem } pre { overflow: auto; padding: 1rem; background: #f3f4f6; font-size: .8125rem }
  @media (prefers-color-scheme: dark) { body { background: #16181d; color: #e6e8ee } pre { background: #23262e } }
</style>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(text)} This page looks again by itself.</p>
${output}
</html>
`;
  return new Response(body, {
    status: 503,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "retry-after": "2",
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    },
  });
}

function told(
  view: ProjectView | Problem,
  port: number | null,
): { title: string; text: string; lines: string[] } {
  if (view instanceof Problem) return { title: "The runner is away", text: view.message, lines: [] };
  const { state, reason, lastLines } = view.devServer;
  if (state === "running" && port !== null) {
    return { title: "Nothing there", text: `Nothing of the project listens on port ${port}.`, lines: [] };
  }
  if (state !== "crashed") return { title: "Starting", text: "The dev server is starting.", lines: [] };
  return { title: "The dev server doesn't come up", text: `${reason ?? ""}.`, lines: lastLines };
}
